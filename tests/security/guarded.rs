//! A service with a token for each role.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub use crate::harness::until;
use crate::harness::{Answer, TestApp};

pub const READ: &str = "r3ad-0123456789abcdef";
pub const COLLECT: &str = "c0llect-0123456789abcdef";
pub const ADMIN: &str = "adm1n-0123456789abcdef";

pub const FLEET: &str = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-2\"\n";

pub struct Guarded {
    pub app: TestApp,
    /// Where its files are.
    pub dir: PathBuf,
}

/// The file of a token.
pub fn token_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.token"))
}

pub fn write_tokens(dir: &Path) {
    for (name, token) in [("read", READ), ("collect", COLLECT), ("admin", ADMIN)] {
        std::fs::write(token_file(dir, name), format!("{token}\n")).unwrap();
    }
}

/// `[http]` with the three tokens, and more.
pub fn http(dir: &Path, more: &str) -> String {
    let mut text = "[http]\ntokens = [\n".to_owned();
    for role in ["read", "collect", "admin"] {
        let file = token_file(dir, role);
        text.push_str(&format!(
            "  {{ name = \"the-{role}-one\", role = \"{role}\", token = {{ file = {file:?} }} }},\n"
        ));
    }
    text + "]\n" + more + "\n"
}

impl Guarded {
    pub fn start() -> Self {
        Self::start_with("", &[])
    }

    pub fn start_with(more: &str, arguments: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        write_tokens(dir.path());
        let config = dir.path().join("clusters.toml");
        std::fs::write(&config, http(dir.path(), more) + FLEET).unwrap();
        let path = dir.path().to_owned();
        let app = TestApp::start_on(dir, config, arguments);
        Self { app, dir: path }
    }

    pub fn ask(&self, method: &str, path: &str, token: &str) -> Answer {
        self.app.request(
            method,
            path,
            &[("Authorization", &format!("Bearer {token}"))],
        )
    }

    pub fn status(&self, method: &str, path: &str, token: &str) -> u16 {
        self.ask(method, path, token).status
    }
}
