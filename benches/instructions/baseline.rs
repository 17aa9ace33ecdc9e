//! The committed counts, and how far from them is too far. It does not know what is counted.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::process::Command;

use serde::{Deserialize, Serialize};

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/instructions/baseline.json"
);

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    /// The compiler, as it names itself.
    rustc: String,
    /// The kind of processor; counts of another one are no measure.
    arch: String,
    /// How much more than its count a path may take; as much less is said.
    tolerance_percent: f64,
    /// The same with another compiler.
    tolerance_percent_other_rustc: f64,
    /// How many times as much an operation may take at a larger size than at a smaller one.
    pub(crate) most_at_larger_size: f64,
    /// Instructions of one operation, by path.
    instructions: BTreeMap<String, f64>,
}

impl Baseline {
    pub(crate) fn load() -> Self {
        let text = std::fs::read_to_string(FILE).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{FILE}: {error}"))
    }

    /// Writes these counts, taken here and now, to the file.
    pub(crate) fn renew<'a>(self, counts: impl Iterator<Item = (&'a str, f64)>) {
        let rounded = |(name, count): (&str, f64)| (name.to_owned(), (count * 10.0).round() / 10.0);
        let renewed = Self {
            rustc: rustc(),
            arch: ARCH.to_owned(),
            instructions: counts.map(rounded).collect(),
            ..self
        };
        let text = serde_json::to_string_pretty(&renewed).unwrap();
        std::fs::write(FILE, text + "\n").unwrap();
    }

    /// A path's count.
    pub(crate) fn of(&self, name: &str) -> Option<f64> {
        self.instructions.get(name).copied()
    }

    /// The paths that have a count.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.instructions.keys().map(String::as_str)
    }

    /// How far from its count a path may be here, in per cent, and when; `None` if the counts are
    /// no measure here.
    pub(crate) fn tolerance(&self) -> Option<(f64, String)> {
        let (here, there) = (rustc(), &self.rustc);
        if self.arch != ARCH {
            None
        } else if *there == here {
            Some((self.tolerance_percent, format!("with its {here}")))
        } else {
            let when = format!("with {here} instead of its {there}");
            Some((self.tolerance_percent_other_rustc, when))
        }
    }
}

fn rustc() -> String {
    let version = Command::new("rustc").arg("--version").output().unwrap();
    String::from_utf8(version.stdout).unwrap().trim().to_owned()
}
