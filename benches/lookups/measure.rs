//! Real and processor time of commands, and what `/proc` says of a process.

use std::process::Command;

pub(crate) const ROUNDS: usize = 3;

/// Seconds; no command here takes that long unless it hangs.
const PATIENCE: u32 = 300;

/// Seconds.
pub(crate) struct Measured {
    pub(crate) real: f64,
    pub(crate) cpu: f64,
}

/// Prints what a client and fleetcall take for as many lookups.
pub(crate) fn compare(name: &str, peer: &str, fleetcall: &str, lookups: usize) {
    println!("| client | lookups a second | its processor time a lookup | ratio to {name} |");
    println!("| --- | ---: | ---: | ---: |");
    let mut runs: Vec<[Measured; 2]> = Vec::new();
    for _ in 0..ROUNDS {
        runs.push([once(peer), once(fleetcall)]);
    }
    let of = |at: usize, what: fn(&Measured) -> f64| median(runs.iter().map(|it| what(&it[at])));
    let peer_cpu = of(0, |it| it.cpu);
    for (at, name) in [name, "fleetcall"].into_iter().enumerate() {
        println!(
            "| {name} | {:.0} | {:.2} ms | {:.2} |",
            lookups as f64 / of(at, |it| it.real),
            of(at, |it| it.cpu) / lookups as f64 * 1e3,
            of(at, |it| it.cpu) / peer_cpu
        );
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs a shell's command once.
pub(crate) fn once(command: &str) -> Measured {
    let timed = format!("TIMEFORMAT='%R %U %S'; time {{ {command}; }}");
    let output = Command::new("timeout")
        .args([
            &PATIENCE.to_string(),
            "bash",
            "-o",
            "pipefail",
            "-c",
            &timed,
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command}: {text}");
    let last = text.lines().last().unwrap();
    let times: Vec<f64> = last.split(' ').map(|it| it.parse().unwrap()).collect();
    Measured {
        real: times[0],
        cpu: times[1] + times[2],
    }
}

/// A figure of a process in KiB, such as `VmRSS`.
pub(crate) fn memory(pid: u32, figure: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(figure));
    let value = line.unwrap().split_whitespace().nth(1).unwrap();
    value.parse().unwrap()
}

/// The processor time that a process has had, in seconds.
pub(crate) fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let ticks = |at| {
        let field = rest.split_whitespace().nth(at).unwrap();
        field.parse::<f64>().unwrap()
    };
    // `utime` and `stime`, in hundredths as Linux always gives them (proc_pid_stat(5)).
    (ticks(11) + ticks(12)) / 100.0
}
