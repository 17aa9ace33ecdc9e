//! Commands that make one roll call ask what they are told, once: no schedule is followed, and
//! nothing outside of the scope is asked, neither devices nor lists.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::harness::{config_file, fleetcall, run, stderr, stdout};
use crate::servers::{http, nobody, request, server};

/// How long what is slow waits for a second request of anything, which must not come: schedules and
/// lists that are followed are due twenty times in it.
const LATE: Duration = Duration::from_secs(2);

/// Lists and devices on one server. What begins with `slow` answers late.
struct Fleet {
    addr: SocketAddr,
    asked: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Fleet {
    fn start() -> Self {
        let asked: Arc<(Mutex<Vec<String>>, Condvar)> = Arc::default();
        let heard = Arc::clone(&asked);
        let addr = server(move |mut stream| {
            let head = request(&mut stream);
            let path = head.split(' ').nth(1).unwrap_or_default();
            let name = path.trim_start_matches('/').to_owned();
            let (names, grown) = &*heard;
            names.lock().unwrap().push(name.clone());
            grown.notify_all();
            if name.starts_with("slow") {
                let is_quiet = |names: &mut Vec<String>| is_once(names);
                let names = names.lock().unwrap();
                drop(grown.wait_timeout_while(names, LATE, is_quiet).unwrap());
            }
            let body = match name.as_str() {
                "list" | "slow-list" => r#"[{"targets": ["listed"]}]"#,
                _ => "{}",
            };
            stream.write_all(&http("200 OK", "", body.as_bytes())).ok();
        });
        Self { addr, asked }
    }

    /// What was asked since this was called last, sorted.
    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.0.lock().unwrap());
        asked.sort();
        asked
    }

    /// A cluster whose devices this asks.
    fn cluster(&self, id: &str, members: &str) -> String {
        let addr = self.addr;
        format!(
            "[[clusters]]\nid = \"{id}\"\n{members}\n\
             lookup = {{ driver = \"http\", url = \"http://{addr}/{{id}}\" }}\n"
        )
    }

    fn list(&self, name: &str) -> String {
        format!(
            "{{ url = \"http://{}/{name}\", every = \"100ms\" }}",
            self.addr
        )
    }
}

fn is_once(names: &[String]) -> bool {
    let mut seen = std::collections::HashSet::new();
    names.iter().all(|name| seen.insert(name))
}

fn on(config: &str, command: &str, arguments: &[&str]) -> Output {
    let (_dir, path) = config_file(config);
    run(fleetcall()
        .args([command, "--config"])
        .arg(path)
        .args(arguments))
}

#[test]
fn collect_asks_each_device_and_reads_each_list_once_whatever_the_schedule() {
    let fleet = Fleet::start();
    let config = [
        "[collect]\nevery = \"100ms\"\n".to_owned(),
        fleet.cluster("a", "nodes = [\"slow\", \"quick\"]"),
        fleet.cluster("b", &format!("nodes = {}", fleet.list("list"))),
    ]
    .concat();
    let output = on(&config, "collect", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(fleet.asked(), ["list", "listed", "quick", "slow"]);
}

#[test]
fn collect_asks_nothing_outside_of_its_scope() {
    let fleet = Fleet::start();
    let config = [
        "[collect]\nevery = \"100ms\"\n".to_owned(),
        fleet.cluster("a", "nodes = [\"slow\", \"quick\"]\nswitches = [\"tor\"]"),
        fleet.cluster("b", &format!("nodes = {}", fleet.list("list"))),
        fleet.cluster(
            "c",
            &format!("nodes = [\"own\"]\nswitches = {}", fleet.list("list")),
        ),
    ]
    .concat();
    for (arguments, expected) in [
        (&["--cluster", "a"][..], &["quick", "slow", "tor"][..]),
        (&["--cluster", "a", "--kind", "switch"], &["tor"]),
        (&["--cluster", "b"], &["list", "listed"]),
        (&["--cluster", "c", "--kind", "node"], &["own"]),
        // A list of cluster b may hold it, and it is in no list of cluster c's switches.
        (&["--device", "own", "--kind", "node"], &["list", "own"]),
        (
            &["--device", "own", "--cluster", "c", "--kind", "node"],
            &["own"],
        ),
    ] {
        let output = on(&config, "collect", arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(fleet.asked(), expected, "{arguments:?}");
    }
}

#[test]
fn what_is_broken_outside_of_the_scope_is_not_noticed() {
    let list = nobody();
    let config = format!(
        "[lookup]\nlatency = \"1ms\"\n\
         [[clusters]]\nid = \"a\"\nnodes = \"1-2\"\n\
         [[clusters]]\nid = \"b\"\nnodes = {{ url = \"http://{list}/\" }}\nswitches = [\"tor\"]\n\
         [[clusters]]\nid = \"c\"\nnodes = \"3\"\nlookup = {{ driver = \"http\", \
         url = \"http://{list}/\", bearer_token = {{ file = \"/nowhere/token\" }} }}\n"
    );
    for arguments in [
        &["--cluster", "a"][..],
        &["--kind", "switch"],
        &["--cluster", "b", "--kind", "switch", "--device", "tor"],
        &["--cluster", "a", "--format", "ndjson"],
    ] {
        let output = on(&config, "collect", arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(stderr(&output), "", "{arguments:?}");
    }
    for arguments in [&["--cluster", "b"][..], &["--device", "1-2,tor"]] {
        let output = on(&config, "collect", arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
    }
}

#[test]
fn check_reads_lists_once_and_asks_no_device() {
    let fleet = Fleet::start();
    let config = [
        "[collect]\nevery = \"100ms\"\n".to_owned(),
        fleet.cluster("a", "nodes = [\"quick\"]"),
        fleet.cluster("b", &format!("nodes = {}", fleet.list("list"))),
        fleet.cluster("c", &format!("nodes = {}", fleet.list("slow-list"))),
    ]
    .concat();
    let output = on(&config, "check", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let out = stdout(&output);
    assert!(out.contains("and 2 in 2 lists"), "{out}");
    assert_eq!(fleet.asked(), ["list", "slow-list"]);
}
