//! Debian's nginx, as an application's health page and as somebody with a certificate.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::servers::{nobody, wait_for};
use crate::tcp::certificate;

/// A real nginx with TLS, killed when dropped.
pub struct Nginx {
    child: Child,
    pub addr: SocketAddr,
    /// The file of its certificate.
    pub ca: String,
    _dir: tempfile::TempDir,
}

impl Nginx {
    /// Gives this page at `/health`, to whoever bears the token.
    pub fn start(page: &str, token: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let addr = nobody();
        let (certificate, key) = certificate("127.0.0.1", 90);
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let ca = file("ca.pem", &certificate.pem());
        let key = file("key.pem", &key.serialize_pem());
        let folder = dir.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
            .collect();
        // One process, so that nobody is left when it is killed.
        let config = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log stderr;\n\
             events {{}}\nhttp {{ access_log off; {temporary}\nserver {{ listen {addr} ssl;\n\
             ssl_certificate {ca}; ssl_certificate_key {key};\n\
             location = /health {{ default_type application/json;\n\
             if ($http_authorization != \"Bearer {token}\") {{ return 401; }}\n\
             return 200 '{page}'; }} }} }}\n"
        );
        let config = file("nginx.conf", &config);
        let mut child = Command::new("/usr/sbin/nginx")
            .args(["-e", "stderr", "-c", &config])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is not installed; .ci/test installs it");
        wait_for(&mut child, addr);
        Self {
            child,
            addr,
            ca,
            _dir: dir,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
