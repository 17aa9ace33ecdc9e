//! A network namespace with two lines to this one, each of which can be cut, or lose packets.

use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const NFT: &str = "/usr/sbin/nft";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A place for a process that is elsewhere. Removed when dropped, with its lines.
pub struct Elsewhere {
    name: String,
    number: u32,
}

fn output(mut command: Command, arguments: &[&str]) -> String {
    let output = command.args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn ip(arguments: &[&str]) {
    output(Command::new("ip"), arguments);
}

impl Elsewhere {
    pub fn new() -> Self {
        // Tests run at once, in one process or in many.
        let number = std::process::id() % 15_000 * 4 + NEXT.fetch_add(1, Ordering::Relaxed) % 4;
        let place = Self {
            name: format!("fct{number}"),
            number,
        };
        ip(&["netns", "add", &place.name]);
        ip(&["-n", &place.name, "link", "set", "lo", "up"]);
        for line in 0..2 {
            let (near, far) = (place.near(line), place.far(line));
            ip(&[
                "link",
                "add",
                &near,
                "type",
                "veth",
                "peer",
                "name",
                &far,
                "netns",
                &place.name,
            ]);
            let own = format!("{}/30", place.address(line, 2));
            ip(&["-n", &place.name, "addr", "add", &own, "dev", &far]);
            ip(&["-n", &place.name, "link", "set", &far, "up"]);
            ip(&[
                "addr",
                "add",
                &format!("{}/30", place.address(line, 1)),
                "dev",
                &near,
            ]);
            ip(&["link", "set", &near, "up"]);
        }
        place
    }

    fn near(&self, line: u32) -> String {
        format!("fcn{}l{line}", self.number)
    }

    fn far(&self, line: u32) -> String {
        format!("fcf{}l{line}", self.number)
    }

    /// Of the addresses that are for tests of networks (RFC 2544).
    fn address(&self, line: u32, end: u32) -> String {
        let host = (self.number * 2 + line) * 4 + end;
        let (high, low) = (host >> 8 & 0xff, host & 0xff);
        format!("198.{}.{high}.{low}", 18 + (host >> 16 & 1))
    }

    /// Where this side is, by one of the lines.
    pub fn here(&self, line: u32) -> IpAddr {
        self.address(line, 1).parse().unwrap()
    }

    /// Where the other side is, by one of the lines.
    pub fn there(&self, line: u32) -> IpAddr {
        self.address(line, 2).parse().unwrap()
    }

    /// A program that runs there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = crate::harness::bare("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Nothing goes over the line any more, and nobody is told.
    pub fn cut(&self, line: u32) {
        ip(&["link", "set", &self.near(line), "down"]);
    }

    pub fn mend(&self, line: u32) {
        ip(&["link", "set", &self.near(line), "up"]);
    }

    /// `nft` on this side and on the other one, each with the name of its end of the line.
    fn both_ends(&self, line: u32) -> [(Command, String); 2] {
        let there = self.command(NFT);
        [
            (Command::new(NFT), self.near(line)),
            (there, self.far(line)),
        ]
    }

    /// So many of a hundred packets that arrive at either end are lost from now on.
    pub fn lose(&self, line: u32, percent: u32) {
        for (nft, end) in self.both_ends(line) {
            let rules = format!(
                "table netdev {end} {{ chain arriving {{
                 type filter hook ingress device {end} priority 0
                 numgen random mod 100 < {percent} counter drop
                 }}
                 }}"
            );
            output(nft, &[&rules]);
        }
    }

    /// How many packets each end has lost so.
    pub fn lost(&self, line: u32) -> [u64; 2] {
        self.both_ends(line).map(|(nft, end)| {
            let said = output(nft, &["list", "table", "netdev", &end]);
            let (_, rest) = said.split_once("counter packets ").unwrap();
            rest.split(' ').next().unwrap().parse().unwrap()
        })
    }

    pub fn lose_no_more(&self, line: u32) {
        for (nft, end) in self.both_ends(line) {
            output(nft, &["delete", "table", "netdev", &end]);
        }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // What runs there is killed by its own guard.
        Command::new("ip")
            .args(["netns", "del", &self.name])
            .output()
            .ok();
        for line in 0..2 {
            let near = self.near(line);
            Command::new("ip")
                .args(["link", "del", &near])
                .output()
                .ok();
            Command::new(NFT)
                .args(["delete", "table", "netdev", &near])
                .output()
                .ok();
        }
    }
}
