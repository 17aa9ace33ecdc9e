//! Files of credentials, and accounts that have nothing in common.

use std::path::Path;

use tempfile::TempDir;

use crate::access::{FLEET, refused, was_refused_nothing};
use crate::fleet::{LEASE, until_well};
use crate::harness::{TestApp, fleetcall, run};
use crate::nats::Nats;
use crate::operator::{Account, Operator, User};

/// How a process connects with a file of credentials.
struct As {
    url: String,
    file: String,
}

impl As {
    fn new(nats: &Nats, user: &User, name: &str) -> Self {
        Self::by_file(nats, &user.file(nats.dir(), name))
    }

    fn by_file(nats: &Nats, path: &Path) -> Self {
        Self {
            url: nats.url(),
            file: path.display().to_string(),
        }
    }

    fn serve(&self) -> Vec<&str> {
        vec!["--nats", &self.url, "--nats-creds", &self.file, "serve"]
    }

    fn work(&self) -> Vec<&str> {
        let mut arguments = self.serve();
        arguments.pop();
        arguments.extend(["worker", "--lease", LEASE]);
        arguments
    }
}

/// Makes the buckets of an account.
fn init(nats: &Nats, account: &Account, name: &str) {
    let operator = As::new(nats, &account.user("operator"), name);
    let mut command = fleetcall();
    command.args(["publish", "--init", "--lease", LEASE]);
    command.args(["--nats", &operator.url, "--nats-creds", &operator.file]);
    let made = run(&mut command);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
}

#[test]
fn each_role_may_do_by_its_file_what_it_has_to_and_no_more() {
    let operator = Operator::new();
    let account = operator.account("fleet");
    let nats = Nats::start_with(|_| operator.config(&[&account]));
    let users = ["front", "worker"].map(|role| account.user(role));
    init(&nats, &account, "operator.creds");
    let front_as = As::new(&nats, &users[0], "front.creds");
    let worker_as = As::new(&nats, &users[1], "worker.creds");
    std::thread::scope(|scope| {
        // Buckets are waited for, for some seconds.
        let refused = scope.spawn(|| refused(&front_as.work()));
        let worker = TestApp::start_with(FLEET, &worker_as.work());
        let front = TestApp::start_with(FLEET, &front_as.serve());
        let answer = until_well(&front);
        assert_eq!(answer.devices(), ["1/n1", "1/n2", "1/n3"]);
        let (code, said) = refused.join().unwrap();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("bucket \"fleetcall_leases\""), "{said}");
        for app in [&worker, &front] {
            was_refused_nothing(app);
            let said = serde_json::to_string(&app.log()).unwrap();
            assert!(!users.iter().any(|it| said.contains(&it.seed)), "{said}");
        }
    });
}

#[test]
fn accounts_of_a_server_share_nothing() {
    let operator = Operator::new();
    let [account, other] = ["fleet", "other"].map(|name| operator.account(name));
    let nats = Nats::start_with(|_| operator.config(&[&account, &other]));
    let connect = |account: &Account, role, name| As::new(&nats, &account.user(role), name);
    init(&nats, &account, "operator.creds");
    init(&nats, &other, "other-operator.creds");
    let worker_as = connect(&account, "worker", "worker.creds");
    let _worker = TestApp::start_with(FLEET, &worker_as.work());
    let front = TestApp::start_with(FLEET, &connect(&account, "front", "front.creds").serve());
    until_well(&front);
    let other_as = connect(&other, "front", "other-front.creds");
    let others = TestApp::start_with(FLEET, &other_as.serve());
    let answer = others.get();
    assert!(
        answer.body.contains("no worker has cluster 1"),
        "{}",
        answer.body
    );
    let unreachable = ["1/n1:unreachable", "1/n2:unreachable", "1/n3:unreachable"];
    assert_eq!(answer.devices(), unreachable);
    // Leases are not shared either: here the same cluster has another owner, with a fence of its own.
    let known = front.request("GET", "/v1/workers", &[]).json();
    let other_worker_as = connect(&other, "worker", "other-worker.creds");
    let _other_worker = TestApp::start_with(FLEET, &other_worker_as.work());
    until_well(&others);
    let others_know = others.request("GET", "/v1/workers", &[]).json();
    let names = |known: &serde_json::Value| {
        let workers = known["workers"].as_array().unwrap();
        assert_eq!(workers.len(), 1, "{known}");
        workers[0]["name"].clone()
    };
    assert_ne!(names(&known), names(&others_know));
    assert_eq!(front.get().status, 200);
}

#[test]
fn credentials_that_do_not_do_are_said_so_without_the_seed() {
    let operator = Operator::new();
    let account = operator.account("fleet");
    let nats = Nats::start_with(|_| operator.config(&[&account]));
    let dir = TempDir::new().unwrap();
    let refuses = |path: &Path, user: &User, expected: &str| {
        let (code, said) = refused(&As::by_file(&nats, path).serve());
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(expected), "{expected:?}: {said}");
        for secret in [&user.seed, &user.jwt] {
            assert!(!said.contains(secret.as_str()), "{said}");
        }
    };
    let good = account.user("front");
    let missing = dir.path().join("nobody.creds");
    refuses(
        &missing,
        &good,
        &format!("cannot use the NATS credentials: {}", missing.display()),
    );
    let bare = dir.path().join("bare.creds");
    std::fs::write(&bare, &good.seed).unwrap();
    refuses(&bare, &good, "cannot parse user JWT");
    // One letter of it is another.
    let last = if good.seed.ends_with('A') { 'B' } else { 'A' };
    let mut seed = good.seed.clone();
    seed.pop();
    seed.push(last);
    let broken = User {
        jwt: good.jwt.clone(),
        seed,
    };
    refuses(
        &broken.file(dir.path(), "broken.creds"),
        &broken,
        "cannot use the NATS credentials",
    );
    // Of somebody else, and of an account that the server was never told of.
    let swapped = User {
        jwt: good.jwt.clone(),
        seed: account.user("front").seed,
    };
    let unknown = operator.account("unknown").user("front");
    let foreign = Operator::new().account("foreign").user("front");
    for (user, name) in [
        (&swapped, "swapped"),
        (&unknown, "unknown"),
        (&foreign, "foreign"),
    ] {
        let file = user.file(dir.path(), name);
        refuses(&file, user, "uthorization");
    }
    // The one that is right does.
    let file = good.file(dir.path(), "good.creds");
    TestApp::start_with(FLEET, &As::by_file(&nats, &file).serve());
}
