//! Servers that run, one process each.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use procfs::ProcError;
use procfs::process::Process;
use rustix::process::{Pid, Signal, kill_process};

use crate::answer::{Failure, Work};
use crate::bare::Waited;
use crate::client::Client;
use crate::load::runtime;
use crate::peer::Peer;
use crate::plan::Plan;

/// How long anybody may take to listen; a million devices take some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Settings of `[collect]` that stand in nobody's way: the peers have no such limits.
pub(crate) const UNLIMITED: &str = "deadline = \"120s\"\nmax_waiting = 20000\n";

/// A server that listens, ended when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    /// When its process was begun.
    pub(crate) begun: Instant,
    /// How long after that it was known to listen.
    pub(crate) listening: Duration,
    log: PathBuf,
}

impl Server {
    /// Starts anybody with this work.
    pub(crate) fn start(plan: &Plan, peer: Peer, work: Work) -> Result<Self, Failure> {
        match peer {
            Peer::Fleetcall => Self::fleetcall(plan, &work.config(UNLIMITED)),
            Peer::FleetcallJoined => {
                let join = format!("{UNLIMITED}join = true\n");
                Self::fleetcall(plan, &work.config(&join))
            }
            Peer::FleetcallLogged => {
                Self::fleetcall_with(plan, &work.config(UNLIMITED), "fleetcall=info")
            }
            _ => Self::other(plan, peer, work),
        }
    }

    /// Starts fleetcall with this configuration. It logs no collects, as the peers log no requests.
    pub(crate) fn fleetcall(plan: &Plan, config: &str) -> Result<Self, Failure> {
        Self::fleetcall_with(plan, config, "fleetcall=info,fleetcall::collector=warn")
    }

    fn fleetcall_with(plan: &Plan, config: &str, level: &str) -> Result<Self, Failure> {
        let file = config_file(plan);
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetcall"));
        command
            .env("RUST_LOG", level)
            .args(["--port", "0", "--log-format", "json", "--config"])
            .arg(file);
        let mut server = Self::spawn(plan, command)?;
        loop {
            let log = std::fs::read_to_string(&server.log).unwrap();
            let listening = log
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .find(|line| line["message"] == "listening");
            if let Some(line) = listening {
                let addr = line["addr"].as_str().unwrap();
                server.port = addr.rsplit_once(':').unwrap().1.parse().unwrap();
                server.listening = server.begun.elapsed();
                return Ok(server);
            }
            server.patience()?;
        }
    }

    fn other(plan: &Plan, peer: Peer, work: Work) -> Result<Self, Failure> {
        let port = free_port();
        let mut command = peer.command(&plan.dir, port);
        give(&mut command, work);
        command
            .env("PORT", port.to_string())
            .env("SLEEP_TIME", work.latency.as_secs_f64().to_string());
        let mut server = Self::spawn(plan, command)?;
        server.port = port;
        // inets listens a moment before it can answer, and says 500 until then.
        while !is_ready(port) {
            server.patience()?;
        }
        server.listening = server.begun.elapsed();
        Ok(server)
    }

    fn spawn(plan: &Plan, mut command: Command) -> Result<Self, Failure> {
        let log = plan.dir.join(format!("run/{}.log", free_port()));
        let file = File::create(&log).unwrap();
        let begun = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .map_err(|error| Failure(format!("does not start: {error}")))?;
        Ok(Self {
            child,
            port: 0,
            begun,
            listening: Duration::ZERO,
            log,
        })
    }

    /// Waits a moment for it to listen, unless that has been too long.
    fn patience(&mut self) -> Result<(), Failure> {
        if self.child.try_wait().unwrap().is_some() || self.begun.elapsed() > PATIENCE {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let last = log.lines().last().unwrap_or_default();
            return Err(Failure(format!("does not start: {last}")));
        }
        sleep(Duration::from_millis(1));
        Ok(())
    }

    fn process(&self) -> Result<Process, ProcError> {
        Process::new(self.child.id().cast_signed())
    }

    /// The most memory that it ever had in RAM, in KiB.
    pub(crate) fn peak_kib(&self) -> f64 {
        self.process().unwrap().status().unwrap().vmhwm.unwrap() as f64
    }

    /// The memory that it has in RAM now, in KiB.
    pub(crate) fn memory_kib(&self) -> f64 {
        self.process().unwrap().status().unwrap().vmrss.unwrap() as f64
    }

    /// Its processor time, in seconds; also that of threads that have ended. In steps of 10 ms.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = self.process().unwrap().stat().unwrap();
        (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
    }

    /// The processor time of the threads that it has, in seconds, to the nanosecond.
    pub(crate) fn cpu_of_threads(&self) -> f64 {
        let tasks = self.process().unwrap().tasks().unwrap();
        let ran = tasks.filter_map(|task| task.ok()?.schedstat().ok());
        ran.map(|it| it.sum_exec_runtime).sum::<u64>() as f64 / 1e9
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The old processes server has children of its own, and leaves them behind.
        let main = self.process().and_then(|it| it.task_main_thread());
        let children = main.and_then(|it| it.children()).unwrap_or_default();
        self.child.kill().ok();
        self.child.wait().ok();
        for child in children {
            if let Some(pid) = Pid::from_raw(child.cast_signed()) {
                kill_process(pid, Signal::KILL).ok();
            }
        }
        std::fs::remove_file(&self.log).ok();
    }
}

/// What each fleetcall reads when it starts, and when it is told to reload.
pub(crate) fn config_file(plan: &Plan) -> PathBuf {
    plan.dir.join("run/clusters.toml")
}

/// Waits for as many timers, in a process of its own.
pub(crate) fn timers(work: Work) -> Waited {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--child", "timers"]);
    give(&mut command, work);
    let output = command.output().unwrap();
    assert!(output.status.success(), "the timers failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn give(command: &mut Command, work: Work) {
    command
        .env("SLEEP_MS", work.latency.as_millis().to_string())
        .env("CLUSTERS", work.clusters.to_string())
        .env("NODES", work.nodes.to_string())
        .env("SWITCHES", work.switches.to_string());
}

/// Whether it answers that there is nothing where there is nothing.
fn is_ready(port: u16) -> bool {
    let request = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let status = runtime().block_on(async {
        let mut client = Client::connect(port).await.ok()?;
        let head = client.get(request, &mut Vec::new()).await.ok()?;
        Some(head.status)
    });
    status == Some(404)
}

/// A port that nobody listens on, and that nobody else is likely to take in the meantime.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Says at the beginning that this build cannot join collects, not half-way through.
pub(crate) fn check_join(plan: &Plan) {
    let file = plan.dir.join("run/join.toml");
    std::fs::write(&file, Work::old(Duration::ZERO).config("join = true\n")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fleetcall"))
        .args(["check", "--config"])
        .arg(file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "this build has no `[collect] join`; leave fleetcall-joined out with --peers: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
