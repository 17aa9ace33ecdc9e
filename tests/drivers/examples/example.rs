//! One example's file, with addresses that somebody has, and its answer beside what is right.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{TestApp, devices, fleetcall, run, stderr, stdout};

/// How far a number may lie beside those that the server's own client read before and after, as
/// it goes up and down in between. All others have to lie between the two.
const MARGINS: [(&str, f64); 7] = [
    // Renewed every 5 s, by at most a twelfth, a sixtieth, … of the processes that want to run.
    ("load_1m", 8.0),
    ("load_5m", 2.0),
    ("load_15m", 1.0),
    ("memory_available_bytes", 2e9),
    ("root_filesystem_available_bytes", 2e9),
    ("node_procs_running", 100.0),
    // The clock of the wall, which may be put right.
    ("uptime_seconds", 1.0),
];

/// An example as it is committed, but for addresses, files and the like, each replaced by name.
pub struct Example {
    text: String,
    dir: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Example {
    pub fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(format!("config/examples/{name}.toml")).unwrap();
        Self::of(text)
    }

    pub fn of(text: String) -> Self {
        Self {
            text,
            dir: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
        }
    }

    /// Writes something real where the example, once, has something that nobody has.
    pub fn put(mut self, written: &str, real: &str) -> Self {
        let found = self.text.matches(written).count();
        assert_eq!(found, 1, "{written} in\n{}", self.text);
        self.text = self.text.replace(written, real);
        self
    }

    /// Makes the file that the example names, elsewhere.
    pub fn file(self, written: &str, content: &str) -> Self {
        let name = written.rsplit('/').next().unwrap();
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        // As a key has to be, and a secret should.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self.put(&format!("\"{written}\""), &format!("{path:?}"))
    }

    /// Sets a variable that the example reads.
    pub fn variable(mut self, name: &'static str, value: &str) -> Self {
        let is_read = format!("{{ env = \"{name}\" }}");
        assert!(self.text.contains(&is_read), "it does not read {name}");
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Makes the system trust this authority only.
    pub fn trusting(mut self, ca: &str) -> Self {
        self.environment.push(("SSL_CERT_FILE", ca.to_owned()));
        self
    }

    /// Where it is run.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self) -> (Command, PathBuf) {
        for nowhere in [".example", "/etc/fleetcall"] {
            let left = self.text.lines().find(|line| line.contains(nowhere));
            assert_eq!(left, None, "nobody is there");
        }
        let path = self.dir.path().join("clusters.toml");
        std::fs::write(&path, patient(&self.text)).unwrap();
        let mut command = fleetcall();
        command.current_dir(self.dir.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        (command, path)
    }

    /// What `fleetcall collect` prints, of so many devices, all well.
    pub fn collect(&self, count: usize) -> Answer {
        let (mut command, path) = self.command();
        let start = Instant::now();
        let output = run(command.args(["collect", "--config"]).arg(path));
        let took = start.elapsed();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}{}",
            stdout(&output),
            stderr(&output)
        );
        Answer::read(&stdout(&output), count, took)
    }

    /// What `GET /test` of a service gives, of so many devices, all well.
    pub fn get(self, count: usize) -> Answer {
        let (command, path) = self.command();
        let app = TestApp::start_as(command, self.dir, path, &[]);
        let start = Instant::now();
        let answer = app.get();
        assert_eq!(answer.status, 200, "{}", answer.body);
        Answer::read(&answer.body, count, start.elapsed())
    }
}

/// The same with all the time that any machine takes: an example's limits are for devices of a fleet,
/// not for all of them and their servers on a machine that is busy.
fn patient(text: &str) -> String {
    let is_limit = |line: &&str| line.starts_with("timeout") || line.starts_with("deadline");
    let mut lines: Vec<&str> = text.lines().filter(|line| !is_limit(line)).collect();
    for (table, limit) in [
        ("[lookup]", "timeout = \"2m\""),
        ("[collect]", "deadline = \"2m\""),
    ] {
        if !lines.contains(&table) {
            lines.push(table);
        }
        let at = lines.iter().position(|line| *line == table).unwrap();
        lines.insert(at + 1, limit);
    }
    lines.join("\n") + "\n"
}

/// The facts of each device, by its name as [`devices`] writes it.
pub struct Answer {
    facts: Vec<(String, Value)>,
    pub took: Duration,
}

impl Answer {
    fn read(text: &str, count: usize, took: Duration) -> Self {
        let answer: Value = serde_json::from_str(text).unwrap();
        assert_eq!(answer["error_code"], 0, "{answer}");
        let names = devices(&answer);
        assert_eq!(names.len(), count, "{names:?}");
        let clusters = answer["data"].as_array().unwrap().iter();
        let all = clusters.flat_map(|cluster| {
            let list = |name: &str| cluster[name].as_array().unwrap().iter();
            list("nodes").chain(list("switches"))
        });
        let facts = names.into_iter().zip(all.map(|it| it["facts"].clone()));
        Self {
            facts: facts.collect(),
            took,
        }
    }

    /// The facts of one list of a cluster, such as `db/n`, which has so many devices. They are the
    /// caller's then, and [`Answer::is_spent`] holds that somebody took each.
    pub fn take(&mut self, list: &str, count: usize) -> Vec<Value> {
        let found = self
            .facts
            .extract_if(.., |(name, _)| name.starts_with(list));
        let found: Vec<Value> = found.map(|(_, facts)| facts).collect();
        assert_eq!(found.len(), count, "{list}");
        found
    }

    pub fn is_spent(&self) {
        let left: Vec<&String> = self.facts.iter().map(|(name, _)| name).collect();
        assert!(left.is_empty(), "nobody looked at {left:?}");
    }
}

/// Whether these are the facts that the server's own client read before and after, all of them
/// and no others.
#[track_caller]
pub fn lie_between(facts: &[Value], before: &Value, after: &Value) {
    let (before, after) = (flat(before), flat(after));
    assert!(!before.is_empty(), "its own client sees nothing");
    for facts in facts {
        let facts = flat(facts);
        let names = |facts: &Leaves| facts.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&facts), names(&before));
        assert_eq!(names(&facts), names(&after));
        for (name, found) in &facts {
            let (before, after) = (&before[name], &after[name]);
            let numbers = (found.as_f64(), before.as_f64(), after.as_f64());
            let (Some(number), Some(first), Some(last)) = numbers else {
                assert_eq!((found, found), (before, after), "{name}");
                continue;
            };
            let margin = MARGINS.iter().find(|(of, _)| name.ends_with(of));
            let margin = margin.map_or(0.0, |(_, margin)| *margin);
            let (low, high) = (first.min(last) - margin, first.max(last) + margin);
            let fits = (low..=high).contains(&number);
            assert!(fits, "{name}: {number} is not in {low} to {high}");
        }
    }
}

type Leaves = BTreeMap<String, Value>;

/// All values that hold no others, each with its way.
fn flat(value: &Value) -> Leaves {
    fn go(way: String, value: &Value, leaves: &mut Leaves) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    go(format!("{way}/{name}"), value, leaves);
                }
            }
            Value::Array(values) if !values.is_empty() => {
                for (at, value) in values.iter().enumerate() {
                    go(format!("{way}/{at}"), value, leaves);
                }
            }
            leaf => {
                leaves.insert(way, leaf.clone());
            }
        }
    }
    let mut leaves = Leaves::new();
    go(String::new(), value, &mut leaves);
    leaves
}
