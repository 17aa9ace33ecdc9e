//! Something that listens where a fleetcall service should, and says what the test wants.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Answers each path with what it was told to, and remembers who asked how.
pub struct Service {
    pub addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What stands in place of a service's answer: all bytes of it, and whether the connection stays
/// open after that.
#[derive(Clone)]
pub struct Said {
    pub bytes: Vec<u8>,
    pub holds: bool,
}

pub fn said(status: &str, kind: &str, body: &str) -> Said {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n");
    Said {
        bytes: [head.as_bytes(), body.as_bytes()].concat(),
        holds: false,
    }
}

/// A stream of lines; `holds` keeps it open behind them.
pub fn lines(text: &str, holds: bool) -> Said {
    Said {
        holds,
        ..said("200 OK", "application/x-ndjson", text)
    }
}

/// The tree of one cluster 1 with these nodes.
pub fn tree(nodes: &[u64]) -> Said {
    let child = serde_json::json!({"state": "running", "restarts": 0});
    let node = |id: &u64| {
        let mut node = child.clone();
        node["node_id"] = (*id).into();
        node["breaker"] = serde_json::json!({"state": "closed", "failures": 0});
        node
    };
    let mut cluster = child.clone();
    cluster["cluster_id"] = 1.into();
    cluster["devices"] = nodes.len().into();
    cluster["nodes"] = nodes.iter().map(node).collect();
    cluster["switches"] = serde_json::json!([]);
    let tree = serde_json::json!({
        "time": "now", "supervisor": child, "counters": {}, "clusters": [cluster],
    });
    said("200 OK", "application/json", &tree.to_string())
}

impl Service {
    pub fn start(tree: Said, report: Said) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tree, report, log) = (tree.clone(), report.clone(), Arc::clone(&log));
                std::thread::spawn(move || answer(stream, &tree, &report, &log));
            }
        });
        Self { addr, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The requests so far, each with its headers.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, tree: &Said, report: &Said, log: &Mutex<Vec<String>>) {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or_default() == 0 {
            return;
        }
    }
    let said = if head.contains("/v1/supervision") {
        tree
    } else {
        report
    };
    log.lock().unwrap().push(head);
    // Whoever asks may go before it has heard all.
    stream.write_all(&said.bytes).ok();
    if said.holds {
        // Until it hangs up.
        reader.read_line(&mut String::new()).ok();
    }
}
