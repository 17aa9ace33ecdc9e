//! What a run is to do: its arguments, and the peers that are here.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bare::Job;
use crate::peer::Peer;
use crate::server;

/// Measures fleetcall beside its peers.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Only these parts
    parts: Vec<Part>,
    /// Only these peers; fleetcall's own rows are peers too
    #[arg(long, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Few and short rounds, to try it: no figures to quote
    #[arg(long)]
    quick: bool,
    /// Where the three old servers are; without it they are left out
    #[arg(long, value_name = "DIR")]
    seed: Option<PathBuf>,
    /// Cargo passes this
    #[arg(long, hide = true)]
    bench: bool,
    /// What this program does as a process of its own
    #[arg(long, hide = true)]
    pub(crate) child: Option<Job>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// One request, 32 devices of 3 s
    One,
    /// Many clients at once
    Crowd,
    /// Requests a second when lookups take no time
    Zero,
    /// One collect over up to a million devices
    Large,
    /// Devices that hang or crash the code that asks them
    Faults,
    /// Start-up, and a reload
    Start,
    /// Time, processor time and memory by number of devices
    Curves,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) parts: Vec<Part>,
    pub(crate) peers: Vec<Peer>,
    /// The old servers that were asked for and are not here.
    pub(crate) absent: Vec<Peer>,
    pub(crate) quick: bool,
    /// Where peers are built, and results written.
    pub(crate) dir: PathBuf,
}

impl Plan {
    /// Sets up what is missing.
    pub(crate) fn new(arguments: Arguments) -> Self {
        raise_file_limit();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let dir = target.join("compare");
        std::fs::create_dir_all(dir.join("run")).unwrap();
        let all = |given: Vec<_>, every: &[_]| {
            if given.is_empty() {
                every.to_vec()
            } else {
                given
            }
        };
        let mut peers: Vec<Peer> = if arguments.peers.is_empty() {
            // Two of the old servers take most of a minute for one answer, and always the same.
            let long = |it: &Peer| matches!(it, Peer::SeedThreads | Peer::SeedProcesses);
            let every = Peer::value_variants().iter().copied();
            every.filter(|it| !(arguments.quick && long(it))).collect()
        } else {
            arguments.peers
        };
        let parts = all(arguments.parts, Part::value_variants());
        let is_there = |seed: PathBuf| copy_seed(&seed, &dir.join("seed"));
        let mut absent = Vec::new();
        if peers.iter().any(|peer| peer.is_seed()) && !arguments.seed.is_some_and(is_there) {
            absent = peers.iter().copied().filter(|it| it.is_seed()).collect();
            peers.retain(|peer| !peer.is_seed());
        }
        set_up(&dir, &peers);
        build_fleetcall();
        let plan = Self {
            parts,
            peers,
            absent,
            quick: arguments.quick,
            dir,
        };
        if plan.peers.contains(&Peer::FleetcallJoined) {
            server::check_join(&plan);
        }
        plan
    }

    /// As many rounds, or those of a run to try it.
    pub(crate) fn rounds(&self, rounds: usize, quick: usize) -> usize {
        if self.quick { quick } else { rounds }
    }

    /// The peers that are measured and for which this holds.
    pub(crate) fn peers(&self, which: impl Fn(Peer) -> bool) -> Vec<Peer> {
        self.peers.iter().copied().filter(|it| which(*it)).collect()
    }
}

/// For 10,000 clients here, and as many in each peer, which inherits it.
fn raise_file_limit() {
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// The old servers have no licence, so they are no part of this repository, and are used where they
/// are, by a copy. Whether they are there.
fn copy_seed(from: &Path, to: &Path) -> bool {
    let Ok(files) = std::fs::read_dir(from) else {
        return false;
    };
    std::fs::create_dir_all(to).unwrap();
    for file in files.map(Result::unwrap) {
        if file.file_type().unwrap().is_file() {
            let copy = to.join(file.file_name());
            std::fs::remove_file(&copy).ok();
            std::fs::copy(file.path(), copy).unwrap();
        }
    }
    true
}

/// As it is published: cargo built it for this benchmark with what only tests need, and its clock is
/// a slower one then.
fn build_fleetcall() {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--profile=bench", "--bin", "fleetcall"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    // Where this benchmark's own is.
    let release = Path::new(env!("CARGO_BIN_EXE_fleetcall")).parent().unwrap();
    cargo.arg("--target-dir").arg(release.parent().unwrap());
    assert!(
        cargo.status().unwrap().success(),
        "fleetcall cannot be built"
    );
}

fn set_up(dir: &Path, peers: &[Peer]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/compare/setup.sh");
    let status = Command::new(script)
        .arg(dir)
        .args(peers.iter().map(|peer| peer.name()))
        .status()
        .unwrap();
    assert!(status.success(), "setup.sh could not set up the peers");
}
