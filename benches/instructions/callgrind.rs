//! Counts the instructions of a path: runs this program again, under callgrind.
//!
//! Valgrind shows every program the same processor, as far as the real one can do that, and runs
//! one thread at a time, so what else the machine does changes nothing. It does not know what is
//! counted.

use std::path::{Path as File, PathBuf};
use std::process::Command;

use crate::paths::Path;

/// As the first argument: run the path that is named next so many rounds, and end.
pub(crate) const RUN: &str = "--run-path";

/// Instructions of one operation of a path: of its rounds after as many others, so that neither
/// start nor end nor what is only done once counts.
pub(crate) fn count(path: &Path) -> f64 {
    let (once, twice) = (run(path, path.rounds), run(path, 2 * path.rounds));
    let operations = path.rounds * path.in_a_round;
    (twice as f64 - once as f64) / operations as f64
}

/// Where the profile of a path's longer run is, for `callgrind_annotate`.
pub(crate) fn profile(name: &str) -> PathBuf {
    File::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{name}.out"))
}

/// All instructions of a process that runs the path so many rounds.
fn run(path: &Path, rounds: u64) -> u64 {
    let profile = profile(path.name);
    let mut valgrind = Command::new("valgrind");
    // What is in the environment is no part of the program.
    valgrind.env_clear();
    if let Some(programs) = std::env::var_os("PATH") {
        valgrind.env("PATH", programs);
    }
    valgrind
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe().unwrap())
        .args([RUN, path.name, &rounds.to_string()]);
    let ended = valgrind.output().unwrap_or_else(|error| {
        panic!("cannot run valgrind (Debian: `apt install valgrind`): {error}")
    });
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{} failed: {said}", path.name);
    let text = std::fs::read_to_string(&profile).unwrap();
    let total = text.lines().find_map(|line| line.strip_prefix("summary: "));
    let total = total.and_then(|total| total.trim().parse().ok());
    total.unwrap_or_else(|| panic!("callgrind wrote no `summary` to {}", profile.display()))
}
