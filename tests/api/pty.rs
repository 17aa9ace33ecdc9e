//! The binary at a terminal: a pseudo-terminal that the test holds the other end of.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::harness::{PATIENCE, bare};

/// `fleetcall` at a terminal of its own, killed when dropped.
pub struct AtTerminal {
    child: Child,
    keyboard: File,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    is_over: bool,
}

pub struct Options<'a> {
    pub columns: u16,
    pub environment: &'a [(&'a str, &'a str)],
    /// Where standard output goes instead of the terminal.
    pub stdout: Option<Stdio>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            columns: 100,
            environment: &[],
            stdout: None,
        }
    }
}

impl AtTerminal {
    pub fn start(arguments: &[&str], options: Options<'_>) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let screen = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(name.to_str().unwrap())
            .unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: options.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&screen, size).unwrap();
        // Or Ctrl-C throws away what the child has written and nobody has read yet, its answer to
        // that very Ctrl-C included.
        let mut modes = tcgetattr(&screen).unwrap();
        modes.local_modes.insert(LocalModes::NOFLSH);
        tcsetattr(&screen, OptionalActions::Now, &modes).unwrap();
        let again = || Stdio::from(screen.try_clone().unwrap());
        // It makes the terminal the one whose Ctrl-C reaches the child, and becomes the child.
        let mut command = bare("setsid");
        command
            .args(["--ctty", env!("CARGO_BIN_EXE_fleetcall")])
            .args(arguments)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
            .envs(options.environment.iter().copied())
            .stdin(again())
            .stdout(options.stdout.unwrap_or_else(again))
            .stderr(again());
        let child = command.spawn().unwrap();
        // Or the terminal would stay open for it.
        drop(command);
        drop(screen);
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone().unwrap();
        let seen: Arc<(Mutex<Seen>, Condvar)> = Arc::default();
        let sink = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            loop {
                // An error means that nobody is at the other end any more.
                let len = reader.read(&mut piece).unwrap_or_default();
                let mut seen = sink.0.lock().unwrap();
                seen.bytes.extend_from_slice(&piece[..len]);
                seen.is_over = len == 0;
                sink.1.notify_all();
                if len == 0 {
                    break;
                }
            }
        });
        Self {
            child,
            keyboard,
            seen,
        }
    }

    /// Waits until what came, as it came, fits.
    pub fn wait_for(&self, fits: impl Fn(&str) -> bool) -> String {
        self.wait(|seen| fits(&String::from_utf8_lossy(&seen.bytes)))
    }

    fn wait(&self, fits: impl Fn(&Seen) -> bool) -> String {
        let seen = self.seen.0.lock().unwrap();
        let (seen, timeout) = self
            .seen
            .1
            .wait_timeout_while(seen, PATIENCE, |seen| !fits(seen))
            .unwrap();
        let text = String::from_utf8_lossy(&seen.bytes).into_owned();
        assert!(
            !timeout.timed_out(),
            "the terminal does not show it: {text:?}"
        );
        text
    }

    pub fn press_ctrl_c(&mut self) {
        self.keyboard.write_all(b"\x03").unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Everything that came, as it came, and the exit code.
    pub fn end(mut self) -> (String, Option<i32>) {
        let text = self.wait(|seen| seen.is_over);
        let start = Instant::now();
        while self.is_running() {
            assert!(start.elapsed() < PATIENCE, "it does not end: {text:?}");
            std::thread::yield_now();
        }
        (text, self.child.wait().unwrap().code())
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The lines that stand on the screen in the end, without colours.
pub fn shown(raw: &str) -> Vec<String> {
    let (mut lines, mut line, mut column) = (Vec::new(), Vec::new(), 0);
    let mut rest = raw.chars();
    while let Some(character) = rest.next() {
        match character {
            '\r' => column = 0,
            '\n' => {
                lines.push(line.drain(..).collect::<String>());
                column = 0;
            }
            '\u{1b}' => {
                assert_eq!(rest.next(), Some('['), "{raw:?}");
                match rest.find(char::is_ascii_alphabetic) {
                    Some('K') => line.truncate(column),
                    Some('m') => {}
                    other => panic!("{other:?} in {raw:?}"),
                }
            }
            other => {
                line.truncate(column);
                line.push(other);
                column += 1;
            }
        }
    }
    lines.push(line.into_iter().collect());
    lines
}
