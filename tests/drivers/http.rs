//! The `http` driver, and what all drivers over HTTP stand.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use crate::servers::{answers, ask, ask_with, http, nobody, request, server, wait_for_end};
use crate::tcp::tls_server;

const BODY: &[u8] = br#"{"status":"ok","build":{"version":"1.2.3"},"disks":[{"free_bytes":5}]}"#;

fn url(addr: SocketAddr, more: &str) -> String {
    format!(
        "driver = \"http\"\nurl = \"http://{addr}/health?token=s3cr3t\"\ntimeout = \"1m\"\n{more}"
    )
}

#[test]
fn it_checks_the_answer_and_picks_facts() {
    let addr = answers(http("200 OK", "X-Role: db\r\n", BODY));
    let node = ask(&url(
        addr,
        r#"
        expect_status = [200, 204]
        expect_headers = { x-role = "db" }
        expect_json = { "/status" = "ok", "/disks/0" = { free_bytes = 5 } }
        facts = { version = "/build/version", free = "/disks/0/free_bytes", none = "/nowhere" }
        "#,
    ));
    assert_eq!(node.fact("http_status"), 200);
    let expected = serde_json::json!({"free": 5, "version": "1.2.3"});
    assert_eq!(
        node.fact("values"),
        &expected,
        "what is not there is absent"
    );
}

#[test]
fn an_answer_that_is_not_as_expected_is_a_protocol_fault_that_says_what_it_is() {
    let addr = answers(http("200 OK", "X-Role: web\r\n", BODY));
    for (expectation, message) in [
        ("expect_status = [204]", "the status is 200 OK"),
        (
            "expect_headers = { x-role = \"db\" }",
            "the header x-role is \"web\"",
        ),
        (
            "expect_headers = { x-other = \"1\" }",
            "there is no header x-other",
        ),
        (
            "expect_json = { \"/status\" = \"up\" }",
            "/status is \"\\\"ok\\\"\"",
        ),
        (
            "expect_json = { \"/health\" = true }",
            "there is no /health in the body",
        ),
        (
            "expect_json = { \"/a\\nb\\u001B[2J\" = true }",
            "there is no /a\\nb\\u{1b}[2J in the body",
        ),
    ] {
        ask(&url(addr, expectation)).fails("protocol", message);
    }
    let text = answers(http("200 OK", "", b"<html>"));
    ask(&url(text, "facts = { a = \"/a\" }")).fails("protocol", "the body is no JSON");
    ask(&url(answers(http("404 Not Found", "", b"")), ""))
        .fails("protocol", "the status is 404 Not Found");
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let node = ask(&url(answers(http(status, "", b"")), ""));
        node.fails("auth", &format!("/health answers {status}"));
        assert!(!node.output.contains("s3cr3t"), "{}", node.output);
    }
}

#[test]
fn it_sends_what_it_is_told_to() {
    let (sender, requests) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let addr = server(move |mut stream| {
        sender.lock().unwrap().send(request(&mut stream)).unwrap();
        stream.write_all(&http("200 OK", "", b"")).unwrap();
    });
    let secret = "password = { env = \"PASSWORD\" }\nusername = \"root\"";
    let more =
        format!("headers = {{ x-api-key = {{ env = \"KEY\" }}, x-plain = \"text\" }}\n{secret}");
    let node = ask_with("", &url(addr, &more), |command| {
        command.env("PASSWORD", "hunter2").env("KEY", "k3y");
    });
    node.fact("http_status");
    let sent = requests.recv().unwrap();
    for line in [
        "GET /health?token=s3cr3t HTTP/1.1\r\n",
        "x-api-key: k3y\r\n",
        "x-plain: text\r\n",
        "authorization: Basic cm9vdDpodW50ZXIy\r\n",
        "user-agent: fleetcall/",
    ] {
        assert!(sent.contains(line), "{line} in {sent}");
    }
    let node = ask_with(
        "",
        &url(addr, "bearer_token = { env = \"KEY\" }"),
        |command| {
            command.env("KEY", "t0k3n");
        },
    );
    node.fact("http_status");
    assert!(
        requests
            .recv()
            .unwrap()
            .contains("authorization: Bearer t0k3n\r\n")
    );
}

#[test]
fn redirects_are_followed_to_the_same_server_only_and_not_for_ever() {
    let home = server(|mut stream| {
        let head = request(&mut stream);
        let answer = if head.starts_with("GET /health") {
            http("302 Found", "Location: /here\r\n", b"")
        } else if head.starts_with("GET /here") {
            http("200 OK", "", b"{\"at\": \"home\"}")
        } else {
            http("307 Temporary Redirect", "Location: /loop\r\n", b"")
        };
        stream.write_all(&answer).ok();
    });
    let node = ask(&url(home, "facts = { at = \"/at\" }"));
    assert_eq!(node.fact("values")["at"], "home");
    ask(&url(home, "redirects = 0")).fails("protocol", "more redirects than allowed");
    let looping = format!("driver = \"http\"\nurl = \"http://{home}/loop\"\ntimeout = \"1m\"");
    ask(&looping).fails("protocol", "more redirects than allowed");
    let elsewhere = answers(http("200 OK", "", b""));
    for to in [
        format!("http://{elsewhere}/"),
        format!("https://{home}/"),
        "ftp://x/".to_owned(),
    ] {
        let away = answers(http("302 Found", &format!("Location: {to}\r\n"), b""));
        ask(&url(away, "")).fails("protocol", "");
    }
}

#[test]
fn what_never_ends_ends_in_time() {
    let silent = server(wait_for_end);
    let half = server(|mut stream| {
        request(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .ok();
        wait_for_end(stream);
    });
    let drips = server(|mut stream| {
        request(&mut stream);
        let (_sender, never) = std::sync::mpsc::channel::<()>();
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: "
            .iter()
            .chain(std::iter::repeat(&b'a'))
        {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            never.recv_timeout(Duration::from_millis(100)).ok();
        }
    });
    for addr in [silent, half, drips] {
        let lookup = url(addr, "").replace("\"1m\"", "\"1s\"");
        ask(&lookup).fails("timed_out", "no answer within 1s");
    }
}

#[test]
fn what_is_too_large_is_not_read_to_the_end() {
    let endless = server(|mut stream| {
        request(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            .ok();
        while stream.write_all(&[b'a'; 65_536]).is_ok() {}
    });
    ask(&url(endless, "")).fails("too_large", "the answer has more than 1048576 bytes");
    let exact = answers(http("200 OK", "", &[b'1'; 10]));
    ask(&url(exact, "max_body_bytes = 10")).fact("http_status");
    ask(&url(exact, "max_body_bytes = 9")).fails("too_large", "more than 9 bytes");
    // A gigabyte of zeros in a megabyte: counted as it unpacks.
    let bomb = std::process::Command::new("sh")
        .args(["-c", "head -c 1000000000 /dev/zero | gzip -1"])
        .output()
        .unwrap()
        .stdout;
    let bomb = answers(http("200 OK", "Content-Encoding: gzip\r\n", &bomb));
    let node = ask(&url(bomb, ""));
    node.fails("too_large", "more than 1048576 bytes");
}

#[test]
fn garbage_and_broken_connections_have_their_kinds() {
    ask(&url(nobody(), "")).fails("refused", "cannot ask http://127.0.0.1:");
    ask(&url(answers("SSH-2.0-OpenSSH_9.2\r\n"), ""))
        .fails("protocol", "cannot ask http://127.0.0.1:");
    ask(&url(
        answers("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
        "",
    ))
    .fails("unreachable", "end of file");
    ask(&url(
        answers(http(
            "200 OK",
            "Content-Encoding: gzip\r\n",
            b"no gzip, but long enough",
        )),
        "",
    ))
    .fails("protocol", "cannot ask http://127.0.0.1:");
    let node = ask(
        "driver = \"http\"\nurl = \"http://no-such-host.invalid/?token=s3cr3t\"\ntimeout = \"1m\"",
    );
    node.fails("unreachable", "cannot ask http://no-such-host.invalid/");
    assert!(!node.output.contains("s3cr3t"), "{}", node.output);
    let gone = server(drop);
    let kind = ask(&url(gone, "")).node["error"]["kind"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        ["unreachable", "protocol"].contains(&kind.as_str()),
        "{kind}"
    );
}

#[test]
fn https_verifies_unless_told_not_to() {
    let (addr, _dir, ca) = tls_server(
        "localhost",
        30,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    );
    let https = |host: &str, more: &str| {
        format!(
            "driver = \"http\"\nurl = \"https://{host}:{}/\"\ntimeout = \"1m\"\n{more}",
            addr.port()
        )
    };
    let trusting = format!("tls = {{ ca = {ca:?} }}");
    assert_eq!(ask(&https("localhost", &trusting)).fact("http_status"), 200);
    ask(&https("localhost", "")).fails("protocol", "from an authority that is not trusted here");
    ask(&https("127.0.0.1", &trusting)).fails("protocol", "its certificate is for another name");
    assert_eq!(
        ask(&https("127.0.0.1", "tls = { verify = false }")).fact("http_status"),
        200
    );
    let (addr, _dir, ca) = tls_server("localhost", -3, b"");
    let expired = format!(
        "driver = \"http\"\nurl = \"https://localhost:{}/\"\ntls = {{ ca = {ca:?} }}",
        addr.port()
    );
    ask(&expired).fails("protocol", "its certificate has expired");
}

#[test]
fn connections_are_not_kept_until_there_is_no_file_left_to_open() {
    // All of 127/8 is the loopback's, so each device is a host of its own.
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                request(&mut stream);
                // It would keep the connection.
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                    .ok();
                wait_for_end(stream);
            });
        }
    });
    let (_dir, path) = crate::harness::config_file(&format!(
        "[lookup]\ndriver = \"http\"\nurl = \"http://127.0.0.{{id}}:{port}/\"\n\
         timeout = \"2m\"\n[collect]\ndeadline = \"2m\"\nmax_concurrent = 8\n\
         [[clusters]]\nid = 1\nnodes = \"1-200\"\n"
    ));
    let command = format!(
        "ulimit -n 64; exec {} collect --config {}",
        env!("CARGO_BIN_EXE_fleetcall"),
        path.display()
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &command])
        .output()
        .unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{answer}");
}

#[test]
fn credentials_do_not_follow_another_url() {
    let (sender, requests) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let addr = server(move |mut stream| {
        sender.lock().unwrap().send(request(&mut stream)).unwrap();
        stream.write_all(&http("200 OK", "", b"{}")).unwrap();
    });
    let text = format!(
        "allow_inline_secrets = true\n[lookup]\ndriver = \"http\"\nurl = \"http://trusted.invalid/\"\n\
         bearer_token = \"t0k3n\"\nheaders = {{ x-api-key = \"k3y\", accept = \"text/plain\" }}\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\nlookup = {{ url = \"http://{addr}/\" }}\n"
    );
    let (_dir, path) = crate::harness::config_file(&text);
    let mut command = crate::harness::fleetcall();
    let output = crate::harness::run(command.args(["collect", "--config"]).arg(path));
    assert_eq!(output.status.code(), Some(0));
    let sent = requests.recv().unwrap();
    assert!(!sent.contains("t0k3n") && !sent.contains("k3y"), "{sent}");
    assert_eq!(sent.matches("accept: ").count(), 1, "{sent}");
}

#[test]
fn one_bad_device_does_not_delay_the_others() {
    let (silent, well) = (server(wait_for_end), answers(http("200 OK", "", b"")));
    let text = format!(
        "[lookup]\ndriver = \"http\"\ntimeout = \"1m\"\n[[clusters]]\nid = 1\n\
         [[clusters.nodes]]\nids = \"1-20\"\nlookup = {{ url = \"http://{well}/\" }}\n\
         [[clusters.nodes]]\nids = \"21-40\"\nlookup = {{ url = \"http://{silent}/\", timeout = \"1s\" }}\n\
         [[clusters.nodes]]\nids = \"41-60\"\nlookup = {{ url = \"http://{}/\" }}\n",
        nobody()
    );
    let app = crate::harness::TestApp::start(&text);
    let devices = app.get().devices();
    for (index, device) in devices.iter().enumerate() {
        let kind = ["", ":timed_out", ":refused"][index / 20];
        assert_eq!(device, &format!("1/n{}{kind}", index + 1));
    }
}
