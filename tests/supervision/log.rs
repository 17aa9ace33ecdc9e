//! What the log says of devices that fail: that they do, once, and when that is over.

use std::collections::HashMap;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use fleetcall::supervision::failpoints::Failpoint;
use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use tokio::time::sleep;

use crate::harness::{Fleet, parse, until};

/// The lines of this process, whichever test they are of: each has a cluster of its own.
struct Lines;

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

#[derive(Debug, Clone)]
struct Line {
    level: Level,
    message: String,
    fields: HashMap<String, String>,
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("fleetcall")
    }

    fn log(&self, record: &Record<'_>) {
        struct Fields(HashMap<String, String>);
        impl<'kvs> VisitSource<'kvs> for Fields {
            fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
                self.0.insert(key.to_string(), value.to_string());
                Ok(())
            }
        }
        let mut fields = Fields(HashMap::new());
        record.key_values().visit(&mut fields).unwrap();
        if self.enabled(record.metadata()) {
            let line = Line {
                level: record.level(),
                message: record.args().to_string(),
                fields: fields.0,
            };
            LINES
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    }

    fn flush(&self) {}
}

fn start_paused(config: &str) -> Fleet {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Lines).unwrap();
        log::set_max_level(LevelFilter::Debug);
    });
    Fleet::start_paused(config)
}

/// The lines of this cluster so far, down to this level.
fn lines(cluster: &str, level: Level) -> Vec<Line> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let is_its = |line: &&Line| {
        let its = line.fields.get("cluster").is_some_and(|it| it == cluster);
        its && line.level <= level
    };
    lines.iter().filter(is_its).cloned().collect()
}

/// The same, as `message kind`, down to info.
fn said(cluster: &str) -> Vec<String> {
    let lines = lines(cluster, Level::Info);
    let text = |line: &Line| match line.fields.get("kind") {
        Some(kind) => format!("{} {kind}", line.message),
        None => line.message.clone(),
    };
    lines.iter().map(text).collect()
}

fn field(line: &Line, name: &str) -> u64 {
    line.fields[name].parse().unwrap()
}

#[actix_web::test]
async fn eighty_devices_that_are_down_for_an_hour_are_eighty_lines_and_eighty_when_they_are_back() {
    // Their breakers open and open again meanwhile, for up to ten minutes.
    let down = "\"refused\", ".repeat(13);
    // For longer than the test, or the first would be down again before the last is back.
    let up = "\"ok\", ".repeat(120);
    let fleet = start_paused(&format!(
        "[lookup]\nlatency = \"1ms\"\n[collect]\nevery = \"60s\"\n\
         [[clusters]]\nid = \"hour\"\nnodes = \"1-1920\"\n\
         switches = [{{ ids = \"1-80\", lookup = {{ script = [{down}{up}] }} }}]\n"
    ));
    let count = |message: &str| said("hour").iter().filter(|it| *it == message).count();
    sleep(Duration::from_secs(50 * 60)).await;
    let failing = lines("hour", Level::Info);
    assert_eq!((failing.len(), count("failing refused")), (80, 80));
    assert!(failing.iter().all(|line| line.level == Level::Warn));
    let mut devices: Vec<_> = failing.iter().map(|it| field(it, "switch")).collect();
    devices.sort_unstable();
    assert_eq!(devices, (1..=80).collect::<Vec<_>>());
    assert_eq!(
        failing[0].fields["error"],
        "the simulated lookup failed as told: refused"
    );
    for _ in 0..60 {
        if count("recovered") == 80 {
            break;
        }
        sleep(Duration::from_secs(60)).await;
    }
    let lines = lines("hour", Level::Info);
    assert_eq!((lines.len(), count("recovered")), (160, 80));
    for line in lines.iter().filter(|line| line.message == "recovered") {
        assert_eq!((line.level, field(line, "failures")), (Level::Info, 13));
        let failing = Duration::from_millis(field(line, "failing_ms"));
        assert!(failing > Duration::from_secs(50 * 60), "{failing:?}");
    }
    drop(fleet);
}

#[actix_web::test]
async fn each_lookup_that_fails_and_each_turn_of_the_breaker_is_said_for_debugging() {
    let fleet = start_paused(
        "[lookup]\nlatency = \"1ms\"\nbreaker = { failures = 2, open = { min = \"10s\", max = \"10s\" } }\n\
         [[clusters]]\nid = \"debug\"\n\
         nodes = [{ ids = \"1\", lookup = { script = [\"fail\", \"fail\", \"fail\", \"ok\"] } }]\n",
    );
    for _ in 0..4 {
        fleet.ask().await;
        sleep(Duration::from_secs(11)).await;
    }
    assert_eq!(said("debug"), ["failing failed", "recovered"]);
    let lines = lines("debug", Level::Debug);
    let count = |message: &str| lines.iter().filter(|it| it.message == message).count();
    assert_eq!(count("lookup failed"), 3);
    assert_eq!(count("circuit breaker opened"), 2);
    assert_eq!(count("circuit breaker closed"), 1);
}

#[actix_web::test]
async fn each_kind_of_fault_is_said_once_while_a_device_fails() {
    let kinds = "\"refused\", \"unreachable\", \"refused\", \"auth\", \"unreachable\", ".repeat(20);
    let fleet = start_paused(&format!(
        "[lookup]\nlatency = \"1ms\"\nbreaker = {{ open = {{ min = \"1ms\", max = \"1ms\" }} }}\n\
         [[clusters]]\nid = \"kinds\"\nnodes = [{{ ids = \"1\", lookup = {{ script = [{kinds} \"ok\"] }} }}]\n"
    ));
    for _ in 0..102 {
        fleet.ask().await;
        sleep(Duration::from_millis(2)).await;
    }
    let expected = [
        "failing refused",
        "failing with another fault unreachable",
        "failing with another fault auth",
        "recovered",
        "failing refused",
    ];
    assert_eq!(said("kinds"), expected);
    let auth = &lines("kinds", Level::Info)[2];
    assert_eq!(field(auth, "breaker_open_ms"), 1);
}

#[actix_web::test]
async fn a_crash_is_a_failure_and_has_the_supervisors_line_as_well() {
    let fleet = start_paused(
        "[lookup]\nlatency = \"1ms\"\n[supervision]\nbackoff = { min = \"1ms\", max = \"2ms\" }\n\
         [[clusters]]\nid = \"crash\"\nnodes = \"1\"\n",
    );
    for _ in 0..2 {
        fleet.panics(Failpoint::Item, "cluster=crash node=1");
        fleet.ask().await;
        sleep(Duration::from_millis(3)).await;
    }
    fleet.ask().await;
    let expected = [
        "failing crashed",
        "actor failed, restarting it",
        "actor failed, restarting it",
        "recovered",
    ];
    assert_eq!(said("crash"), expected);
    let lines = lines("crash", Level::Info);
    assert_eq!(field(&lines[3], "failures"), 2);
}

#[actix_web::test]
async fn a_device_that_is_silent_until_the_deadline_is_said_to_fail() {
    let fleet = start_paused(
        "[lookup]\ntimeout = \"60s\"\nscript = [\"hang\", \"hang\", \"ok\"]\nlatency = \"1ms\"\n\
         [collect]\ndeadline = \"1s\"\n[[clusters]]\nid = \"silent\"\nnodes = \"1\"\n",
    );
    for _ in 0..3 {
        fleet.ask().await;
    }
    until("it answers again", || said("silent").len() == 2).await;
    assert_eq!(said("silent"), ["failing timed_out", "recovered"]);
}

#[actix_web::test]
async fn what_a_reload_makes_of_a_device_that_fails_is_said() {
    let config = |script: &str| {
        format!(
            "[lookup]\nlatency = \"1ms\"\nscript = [{script}]\n[[clusters]]\nid = \"reload\"\nnodes = \"1\"\n"
        )
    };
    let fleet = start_paused(&config("\"auth\""));
    fleet.ask().await;
    for script in ["\"auth\", \"auth\"", "\"ok\""] {
        fleet.engine.apply(parse(&config(script)));
        fleet.ask().await;
    }
    let expected = [
        "failing auth",
        "failing with another fault auth",
        "recovered",
    ];
    assert_eq!(said("reload"), expected);
}

#[actix_web::test]
async fn a_device_that_flaps_is_said_to_once_and_once_when_it_is_steady() {
    let flaps = "\"ok\", \"refused\", ".repeat(150);
    let steady = "\"ok\", ".repeat(1000);
    let fleet = start_paused(&format!(
        "[lookup]\nlatency = \"1ms\"\n[collect]\nevery = \"1s\"\n\
         [[clusters]]\nid = \"flaps\"\nnodes = [{{ ids = \"1-20\", lookup = {{ script = [{flaps}{steady}] }} }}]\n"
    ));
    let of_first = || {
        let lines = lines("flaps", Level::Info).into_iter();
        let lines = lines.filter(|line| line.fields["node"] == "1");
        lines.collect::<Vec<_>>()
    };
    sleep(Duration::from_secs(290)).await;
    let said: Vec<_> = of_first().iter().map(|it| it.message.clone()).collect();
    let expected = [
        "failing",
        "recovered",
        "failing",
        "recovered",
        "failing",
        "flapping",
    ];
    assert_eq!(said, expected);
    // Each of the 20 has lines of its own, and nothing else is said in all that time.
    assert_eq!(lines("flaps", Level::Info).len(), 20 * expected.len());
    let debug = lines("flaps", Level::Debug);
    let changes = debug.iter().filter(|it| it.message == "recovered").count();
    assert!(changes > 20 * 140, "{changes} for debugging");
    sleep(Duration::from_secs(620)).await;
    let lines = of_first();
    let [.., begins, ends] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!((begins.level, field(begins, "changes")), (Level::Warn, 6));
    assert_eq!(
        (ends.level, &*ends.message),
        (Level::Info, "flapping no more")
    );
    assert_eq!((lines.len(), field(ends, "changes")), (7, 300));
    assert!(field(ends, "within_ms") > 290_000);
    drop(fleet);
}

#[actix_web::test]
async fn a_device_that_flaps_and_then_fails_for_good_is_said_to_fail() {
    let flaps = "\"ok\", \"refused\", ".repeat(4);
    let down = "\"unreachable\", \"refused\", ".repeat(1000);
    let fleet = start_paused(&format!(
        "[lookup]\nlatency = \"1ms\"\nbreaker = {{ open = {{ min = \"1s\", max = \"1s\" }} }}\n[collect]\nevery = \"1s\"\n\
         [[clusters]]\nid = \"falls\"\nnodes = [{{ ids = \"1\", lookup = {{ script = [{flaps}{down}] }} }}]\n"
    ));
    sleep(Duration::from_secs(900)).await;
    let said = said("falls");
    let [before @ .., last] = &said[..] else {
        panic!("nothing is said");
    };
    assert_eq!(before.last().map(String::as_str), Some("flapping"));
    assert!(last.starts_with("flapping no more "), "{last}");
    assert_eq!(
        lines("falls", Level::Info).last().unwrap().level,
        Level::Warn
    );
    drop(fleet);
}
