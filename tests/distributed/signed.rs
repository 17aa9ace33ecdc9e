//! Published configurations that are signed, and what those may not that are none.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::access::{init, users};
use crate::fleet::{says, says_nothing_twice, until_well};
use crate::harness::{TestApp, config_file, fleetcall, run, stderr, stdout};
use crate::nats::Nats;

const BUCKET: &str = "fleetcall_config";

/// A fleet of so many devices, which takes nothing from the machine.
fn fleet(devices: usize) -> String {
    format!("[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-{devices}\"\n")
}

/// One of five, which are asked by a command.
fn commands() -> String {
    "[lookup]\ndriver = \"exec\"\ncommand = [\"/bin/echo\", \"id={id}\"]\noutput = \"key_value\"\n\
     [[clusters]]\nid = 1\nnodes = \"1-5\"\n"
        .to_owned()
}

/// A key to sign with.
struct Key {
    dir: TempDir,
    path: PathBuf,
    public: String,
}

impl Key {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("sign.key");
        let made = run(fleetcall().args(["publish", "--new-key"]).arg(&path));
        assert!(made.status.success(), "{made:?}");
        let public = stdout(&made).trim_end().to_owned();
        Self { dir, path, public }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn seed(&self) -> String {
        let text = std::fs::read_to_string(&self.path).unwrap();
        text.trim_end().to_owned()
    }

    /// Signs as `docs/distributed.md` says.
    fn sign(&self, bucket: &str, serial: u64, text: &str) -> String {
        let key = KeyPair::from_seed(&self.seed()).unwrap();
        let signed = format!("fleetcall-configuration v1\n{bucket}\n{serial}\n{text}");
        let signature = BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()).unwrap());
        let public = &self.public;
        format!("# fleetcall-signed v1 {serial} {public} {signature}\n{text}")
    }
}

fn publish(nats: &Nats, config: &str, arguments: &[&str]) -> Output {
    let (_dir, path) = config_file(config);
    let mut command = fleetcall();
    command.args(["publish", "--nats", &nats.url(), "--config"]);
    run(command.arg(path).args(arguments))
}

/// Publishes it signed; the serial.
fn publish_signed(nats: &Nats, config: &str, key: &Key) -> u64 {
    let published = publish(nats, config, &["--sign-key", key.path()]);
    assert!(published.status.success(), "{published:?}");
    let said = stdout(&published);
    let (_, rest) = said.split_once(", serial ").unwrap();
    let (serial, rest) = rest.split_once(", signed by ").unwrap();
    assert!(rest.starts_with(&format!("{}: ", key.public)), "{said}");
    serial.parse().unwrap()
}

/// What a bucket has now.
pub fn entry(nats: &Nats, bucket: &str) -> String {
    let last = json!({"last_by_subj": format!("$KV.{bucket}.clusters")});
    let message = nats.does(&format!("STREAM.MSG.GET.KV_{bucket}"), &last);
    let data = message["message"]["data"].as_str().unwrap();
    String::from_utf8(BASE64.decode(data.as_bytes()).unwrap()).unwrap()
}

fn put(nats: &Nats, text: &str) {
    nats.put(BUCKET, "clusters", text);
}

fn started(nats: &Nats, arguments: &[&str]) -> TestApp {
    let url = nats.url();
    let all = [&["--published", "--nats", &url][..], arguments].concat();
    TestApp::start_with("", &all)
}

fn worker(nats: &Nats, arguments: &[&str]) -> TestApp {
    let work = ["worker", "--lease", "2s", "--name", "a"];
    started(nats, &[&work[..], arguments].concat())
}

/// What a process says that does not start with what was published.
fn not_started(nats: &Nats, arguments: &[&str]) -> String {
    let url = nats.url();
    let mut process = fleetcall();
    process.args(["serve", "--published", "--nats", &url, "--port", "0"]);
    let output = run(process.args(arguments));
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    stderr(&output)
}

fn is_taken(line: &Value, version: u64) -> bool {
    line["message"] == "reloaded" && line["config"] == format!("{BUCKET} version {version}")
}

fn refused(app: &TestApp, version: u64) -> String {
    let message = "a published configuration is refused";
    let line = app.wait_for_log(|it| it["message"] == message && it["version"] == version);
    line["why"].as_str().unwrap().to_owned()
}

fn devices(app: &TestApp) -> usize {
    until_well(app).devices().len()
}

#[test]
fn only_what_a_key_signed_is_taken() {
    let (own, other) = (Key::new(), Key::new());
    let nats = Nats::start();
    publish_signed(&nats, &fleet(3), &own);
    let signed = entry(&nats, BUCKET);
    // Of another fleet, by the same key.
    let elsewhere = ["--nats-prefix", "other", "--sign-key", own.path()];
    assert!(publish(&nats, &fleet(9), &elsewhere).status.success());
    let put_all = || {
        put(&nats, &commands());
        publish_signed(&nats, &commands(), &other);
        put(&nats, &signed.replace("1-3", "1-9"));
        put(&nats, &entry(&nats, "other_config"));
    };
    put_all();
    let with_key = ["--published-key", own.public.as_str()];
    let worker = worker(&nats, &with_key);
    let front = started(&nats, &[&["serve"][..], &with_key].concat());
    assert_eq!(devices(&front), 3);
    let public = &own.public;
    for app in [&worker, &front] {
        for (version, expected) in [
            (2, "it is not signed"),
            (
                3,
                &*format!("it is signed by {}, which is none", other.public),
            ),
            (4, &*format!("its signature by {public} is not right")),
            (5, &*format!("its signature by {public} is not right")),
        ] {
            let line = app.wait_for_log(|it| it["version"] == version && it["taken"] == 1);
            let said = line["faults"].as_str().unwrap();
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
    // While it runs, too: what it says of so many is bounded, and the last one is said.
    put_all();
    for app in [&worker, &front] {
        assert!(
            refused(app, 9).contains("is not right"),
            "{}",
            refused(app, 9)
        );
    }
    publish_signed(&nats, &fleet(4), &own);
    for app in [&worker, &front] {
        app.wait_for_log(|it| is_taken(it, 10));
        let taken = app.log().into_iter().filter(says("reloaded"));
        let versions: Vec<Value> = taken.map(|it| it["config"].clone()).collect();
        assert_eq!(versions, [format!("{BUCKET} version 10")]);
        says_nothing_twice(app);
        let metrics = app.request("GET", "/metrics", &[]).body;
        // Of some that come at once only the last one is looked at.
        let counted = metrics.split_once("fleetcall_reloads_total{outcome=\"refused\"} ");
        assert!(!counted.unwrap().1.starts_with('0'), "{metrics}");
    }
    assert_eq!(devices(&front), 4);
    // And it may run commands.
    publish_signed(&nats, &commands(), &own);
    for app in [&worker, &front] {
        app.wait_for_log(|it| is_taken(it, 11));
    }
    assert_eq!(devices(&front), 5);
}

#[test]
fn an_older_configuration_is_not_taken_after_a_newer_one() {
    let key = Key::new();
    let with_key = ["serve", "--published-key", key.public.as_str()];
    let nats = Nats::start();
    let first = publish_signed(&nats, &fleet(2), &key);
    let older = entry(&nats, BUCKET);
    let second = publish_signed(&nats, &fleet(3), &key);
    assert!(second > first);
    let newer = entry(&nats, BUCKET);
    let _worker = worker(&nats, &with_key[1..]);
    let front = started(&nats, &with_key);
    assert_eq!(devices(&front), 3);
    put(&nats, &older);
    let said = refused(&front, 3);
    assert!(
        said.contains(&format!("{first} is not larger than {second}")),
        "{said}"
    );
    // The same again is no other one.
    put(&nats, &newer);
    front.wait_for_log(|it| is_taken(it, 4));
    // A process that starts takes the newest of those that are kept, wherever it stands.
    put(&nats, &older);
    let late = started(&nats, &with_key);
    assert_eq!(devices(&late), 3);
    late.wait_for_log(|it| {
        it["message"] == "configured" && it["config"] == "fleetcall_config version 4"
    });
    // Of a publisher whose clock is ahead: the next ones are larger all the same.
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let ahead = now + Duration::from_secs(1 << 25);
    let ahead = u64::try_from(ahead.as_micros()).unwrap();
    put(&nats, &key.sign(BUCKET, ahead, &fleet(4)));
    for app in [&front, &late] {
        app.wait_for_log(|it| is_taken(it, 6));
    }
    // One with the same serial is none of the two.
    put(&nats, &key.sign(BUCKET, ahead, &fleet(6)));
    put(&nats, &key.sign(BUCKET, ahead, &fleet(4)));
    assert_eq!(publish_signed(&nats, &fleet(5), &key), ahead + 1);
    for app in [&front, &late] {
        app.wait_for_log(|it| is_taken(it, 9));
        assert!(!app.log().iter().any(|it| is_taken(it, 7)));
    }
    assert_eq!(devices(&front), 5);
}

#[test]
fn keys_are_replaced_by_taking_both_for_a_while() {
    let (old, new) = (Key::new(), Key::new());
    let both = format!("{},{}", old.public, new.public);
    let nats = Nats::start();
    publish_signed(&nats, &fleet(2), &old);
    let olds = entry(&nats, BUCKET);
    let with = |keys: &str| started(&nats, &["serve", "--published-key", keys]);
    let _worker = worker(
        &nats,
        &[
            "--published-key",
            &old.public,
            "--published-key",
            &new.public,
        ],
    );
    let (by_old, by_both) = (with(&old.public), with(&both));
    let only_new = ["--published-key", new.public.as_str()];
    let said = not_started(&nats, &only_new);
    let expected = format!(
        "is signed by {}, which is none of --published-key",
        old.public
    );
    assert!(said.contains(&expected), "{said}");
    publish_signed(&nats, &fleet(3), &new);
    by_both.wait_for_log(|it| is_taken(it, 2));
    assert_eq!(devices(&by_both), 3);
    let said = refused(&by_old, 2);
    assert!(said.contains(&new.public), "{said}");
    // What the old one signed is older for all.
    put(&nats, &olds);
    assert!(refused(&by_both, 3).contains("is not larger than"));
    assert_eq!(devices(&with(&new.public)), 3);
}

/// Parts of configurations that take something from the machine, and what is said of each.
const LOCAL: [(&str, &str, &str); 5] = [
    (
        "lookup = { driver = \"exec\", command = [\"/bin/echo\", \"id={id}\"], output = \"key_value\" }",
        "clusters[0].nodes",
        "runs the command \"/bin/echo\"",
    ),
    (
        "lookup = { driver = \"ssh\", address = \"{id}:22\", username = \"u\", key = \"/k\", \
         host_key = \"ssh-ed25519 AAAA\", remote_command = \"x\" }",
        "clusters[0].nodes",
        "reads the file \"/k\"",
    ),
    (
        "lookup = { driver = \"http\", url = \"http://x/\", bearer_token = { env = \"HOME\" } }",
        "clusters[0].nodes",
        "reads the variable \"HOME\"",
    ),
    (
        "switches = { file = \"/lists/*.json\" }",
        "clusters[0].switches",
        "reads the file \"/lists/*.json\"",
    ),
    (
        "[[http.tokens]]\nname = \"a\"\nrole = \"admin\"\ntoken = { file = \"/etc/hostname\" }",
        "http.tokens[0].token",
        "reads the file \"/etc/hostname\"",
    ),
];

#[test]
fn what_is_not_signed_takes_nothing_from_the_machine() {
    let nats = Nats::start();
    assert!(publish(&nats, &fleet(2), &[]).status.success());
    let _worker = worker(&nats, &[]);
    let front = started(&nats, &["serve"]);
    assert_eq!(devices(&front), 2);
    let mut version = 1;
    for (part, key, what) in LOCAL {
        let config = format!("[[clusters]]\nid = 1\nnodes = \"1-5\"\n{part}\n");
        let expected = format!("{key}: this {what} where it is used");
        let is_said = |said: &str| {
            let is_said = said.contains(&expected) && said.contains("--published-unsigned");
            assert!(is_said, "{expected}: {said}");
        };
        let published = publish(&nats, &config, &[]);
        assert_eq!(published.status.code(), Some(78), "{published:?}");
        is_said(&stderr(&published));
        put(&nats, &config);
        version += 1;
        // What a running process says of it is what one says that starts.
        let refused = front.wait_for_logs(
            version - 1,
            says("reload refused, the configuration stays as it was"),
        );
        assert_eq!(refused.last().unwrap()["trigger"], "publication");
        let said = front.log().into_iter().filter(says("configuration fault"));
        let said: Vec<String> = said
            .map(|it| {
                format!(
                    "{}: {}",
                    it["key"].as_str().unwrap(),
                    it["fault"].as_str().unwrap()
                )
            })
            .collect();
        is_said(&said.join("\n"));
        let late = started(&nats, &["serve"]);
        let passed_over = late.wait_for_log(|it| it["version"] == version && it["taken"] == 1);
        is_said(passed_over["faults"].as_str().unwrap());
    }
    assert_eq!(devices(&front), 2);
}

#[test]
fn what_is_not_signed_may_do_all_where_that_is_allowed() {
    let nats = Nats::start();
    let unsigned = ["--published-unsigned"];
    let published = publish(&nats, &commands(), &unsigned);
    assert!(published.status.success(), "{published:?}");
    assert!(
        stderr(&published).contains("--published-unsigned"),
        "{published:?}"
    );
    let said = not_started(&nats, &[]);
    assert!(
        said.contains("clusters[0].nodes: this runs the command"),
        "{said}"
    );
    let worker = worker(&nats, &unsigned);
    worker.wait_for_log(|it| {
        let message = it["message"].as_str().unwrap_or_default();
        it["level"] == "warn" && message.contains("can run commands here")
    });
    let front = started(&nats, &["serve", "--published-unsigned"]);
    assert_eq!(devices(&front), 5);
}

#[test]
fn what_is_signed_is_used_without_a_key_as_what_is_not() {
    let key = Key::new();
    let nats = Nats::start();
    publish_signed(&nats, &fleet(3), &key);
    let _worker = worker(&nats, &[]);
    let front = started(&nats, &["serve"]);
    assert_eq!(devices(&front), 3);
    publish_signed(&nats, &commands(), &key);
    let said = front.wait_for_log(says("configuration fault"));
    assert!(
        said["fault"].as_str().unwrap().contains("runs the command"),
        "{said}"
    );
}

#[test]
fn a_signed_configuration_that_is_lost_is_published_again_as_it_was() {
    let key = Key::new();
    let with_key = ["serve", "--published-key", key.public.as_str()];
    let nats = Nats::start();
    let serial = publish_signed(&nats, &fleet(3), &key);
    let signed = entry(&nats, BUCKET);
    let _worker = worker(&nats, &with_key[1..]);
    let front = started(&nats, &with_key);
    assert_eq!(devices(&front), 3);
    nats.does("STREAM.PURGE.KV_fleetcall_config", &Value::Null);
    // The worker or the front does it.
    while nats.info(BUCKET)["state"]["messages"] == 0 {
        assert_eq!(front.get().status, 200, "nobody notices");
    }
    assert_eq!(entry(&nats, BUCKET), signed);
    let late = started(&nats, &with_key);
    assert_eq!(devices(&late), 3);
    assert!(publish_signed(&nats, &fleet(4), &key) > serial);
    for app in [&front, &late] {
        app.wait_for_log(|it| it["message"] == "reloaded" && it["devices_added"] == 1);
    }
}

#[test]
fn a_publisher_signs_with_the_permissions_that_it_needs() {
    let key = Key::new();
    for may_read in [true, false] {
        let nats = Nats::start_with(|dir| {
            let read = ", \"$JS.API.STREAM.MSG.GET.KV_fleetcall_config\"\n        ]";
            let users = users(dir);
            assert_eq!(users.matches(read).count(), 1, "the publisher's: {users}");
            users.replace(read, if may_read { read } else { "\n        ]" })
        });
        init(&nats);
        let password = nats.dir().join("publisher");
        let who = [
            "--nats-user",
            "publisher",
            "--nats-password-file",
            password.to_str().unwrap(),
        ];
        let arguments = [&who[..], &["--sign-key", key.path()]].concat();
        for version in [1, 2] {
            let published = publish(&nats, &fleet(1), &arguments);
            let said = stdout(&published);
            assert!(
                said.starts_with(&format!("version {version}, serial ")),
                "{published:?}"
            );
            let is_said = stderr(&published).contains("the serial is the time of this machine");
            assert_eq!(is_said, !may_read, "{published:?}");
        }
    }
}

fn usage(arguments: &[&str]) -> String {
    let output = run(fleetcall()
        .args(["--nats", "nats://127.0.0.1:9"])
        .args(arguments));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    stderr(&output)
}

#[test]
fn keys_are_made_read_and_refused_without_a_seed_in_any_output() {
    let key = Key::new();
    let (path, seed) = (key.path(), key.seed());
    assert!(seed.starts_with("SA") && key.public.starts_with('A'));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&key.path), 0o600);
    let again = run(fleetcall().args(["publish", "--new-key", path]));
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(stderr(&again).contains(path), "{again:?}");
    assert_eq!(key.seed(), seed, "it is left as it was");
    let nats = Nats::start();
    let published = |arguments: &[&str]| {
        let output = publish(&nats, &fleet(1), arguments);
        let said = stdout(&output) + &stderr(&output);
        assert!(!said.contains(&seed), "{said}");
        (output.status.code().unwrap(), said)
    };
    let (code, said) = published(&["--sign-key", path, "--published-key", &key.public]);
    assert!(code == 0 && !said.contains("warn"), "{said}");
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&key.path, open).unwrap();
    let (code, said) = published(&["--sign-key", path]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("others than its owner may read"), "{said}");
    let other = KeyPair::new_account().public_key();
    let (code, said) = published(&["--sign-key", path, "--published-key", &other]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("none of --published-key"), "{said}");
    let (code, said) = published(&["--published-key", &key.public]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--sign-key"), "{said}");
    // A user's key signs what servers send.
    let user = KeyPair::new_user();
    for wrong in [user.seed().unwrap(), seed[..40].to_owned(), String::new()] {
        let file = key.dir.path().join("wrong");
        std::fs::write(&file, &wrong).unwrap();
        let (code, said) = published(&["--sign-key", file.to_str().unwrap()]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("seed of an account's nkey"), "{said}");
        assert!(wrong.is_empty() || !said.contains(&wrong), "{said}");
    }
    let said = usage(&["serve", "--published", "--published-key", &seed]);
    assert!(
        said.contains("make another key") && !said.contains(&seed),
        "{said}"
    );
    for wrong in ["", "A", &user.public_key(), &format!("{},", key.public)] {
        let said = usage(&["serve", "--published", "--published-key", wrong]);
        assert!(
            said.contains("no public nkey of an account"),
            "{wrong}: {said}"
        );
    }
    let with_key = ["--published-key", key.public.as_str()];
    let both = [
        &["serve", "--published", "--published-unsigned"][..],
        &with_key,
    ]
    .concat();
    assert!(usage(&both).contains("give one of them"));
}
