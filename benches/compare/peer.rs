//! Who is measured, and how each is run.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Axum,
    Go,
    Node,
    Asyncio,
    Erlang,
    SeedThreads,
    SeedProcesses,
    SeedGevent,
    /// actix-web, and nothing behind it: the same bytes, known before
    Bare,
    /// As many tokio timers, and nothing around them
    Timers,
    Fleetcall,
    /// With `[collect] join = true`
    FleetcallJoined,
    /// With a line of log for each collect, as it is by default
    FleetcallLogged,
}

impl Peer {
    /// As on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().unwrap().get_name().to_owned()
    }

    /// As in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Axum => "axum, `join_all`",
            Self::Go => "Go, goroutines",
            Self::Node => "Node.js",
            Self::Asyncio => "asyncio",
            Self::Erlang => "Erlang, a process a device",
            Self::SeedThreads => "the old threads server",
            Self::SeedProcesses => "the old processes server",
            Self::SeedGevent => "the old gevent server",
            Self::Bare => "bare actix-web handler",
            Self::Timers => "bare tokio timers",
            Self::Fleetcall => "**fleetcall**",
            Self::FleetcallJoined => "**fleetcall**, joined",
            Self::FleetcallLogged => "**fleetcall**, each collect logged",
        }
    }

    /// One of the three servers that fleetcall replaced.
    pub(crate) fn is_seed(self) -> bool {
        matches!(
            self,
            Self::SeedThreads | Self::SeedProcesses | Self::SeedGevent
        )
    }

    /// The same job as somebody would write it today.
    pub(crate) fn is_modern(self) -> bool {
        matches!(
            self,
            Self::Axum | Self::Go | Self::Node | Self::Asyncio | Self::Erlang
        )
    }

    /// The command that runs a server that is not fleetcall. All but the old ones take their work
    /// from the environment.
    pub(crate) fn command(self, dir: &Path, port: u16) -> Command {
        let peers = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/benches/compare/peers"
        ));
        let old = |file: &str| {
            let mut command = Command::new(dir.join("seed-venv/bin/python"));
            command
                .arg(dir.join("seed").join(file))
                .arg(format!("--port={port}"));
            command
        };
        match self {
            Self::Axum => Command::new(dir.join("axum/release/axum-peer")),
            Self::Go => Command::new(dir.join("go/server")),
            Self::Node => {
                let mut command = Command::new("node");
                command.arg(peers.join("node/server.js"));
                command
            }
            Self::Asyncio => {
                let mut command = Command::new(dir.join("asyncio/bin/python"));
                command.arg(peers.join("asyncio/server.py"));
                command
            }
            Self::Erlang => {
                let mut command = Command::new("erl");
                command
                    .args(["-noshell", "+P", "4000000", "-pa"])
                    .arg(dir.join("erlang"))
                    .args(["-s", "server"]);
                command
            }
            Self::SeedThreads => old("threads.py"),
            Self::SeedProcesses => old("processes.py"),
            Self::SeedGevent => old("gevent_server.py"),
            Self::Bare => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["--child", "serve"]);
                command
            }
            Self::Timers | Self::Fleetcall | Self::FleetcallJoined | Self::FleetcallLogged => {
                unreachable!("{self:?} is run in another way")
            }
        }
    }
}
