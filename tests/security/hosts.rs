//! Pages that were loaded by a name which its owner has lead here, and pages that only begin a roll call.

use std::io::Write as _;
use std::net::TcpStream;

use crate::guarded::{FLEET, Guarded, READ};
use crate::harness::{PATIENCE, TestApp, read_all};

const EVIL: &str = "evil.example:11100";

/// The status of a request that asks for this name.
fn status(app: &TestApp, method: &str, path: &str, host: &str) -> u16 {
    app.request(method, path, &[("Host", host)]).status
}

/// The answer to a request line and headers as they are.
fn raw(app: &TestApp, head: &str) -> String {
    let mut stream = TcpStream::connect(app.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{head}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    read_all(stream)
}

fn collects(app: &TestApp) -> usize {
    let log = app.log();
    let collected = log.iter().filter(|line| line["message"] == "collected");
    collected.count()
}

#[test]
fn a_name_that_is_not_this_services_is_refused_also_for_reads() {
    let app = TestApp::start(FLEET);
    for (method, path) in [
        ("GET", "/v1/report"),
        ("GET", "/v1/clusters"),
        ("GET", "/v1/supervision"),
        ("GET", "/metrics"),
        ("GET", "/"),
        ("GET", "/openapi.json"),
        ("GET", "/nowhere"),
        ("POST", "/v1/collect"),
        ("POST", "/v1/reload"),
        ("GET", "/%74est"),
        ("GET", "/healthz/"),
    ] {
        for host in [
            EVIL,
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:80@evil.example",
            "localhost@evil.example",
            "192.0.2.1:11100",
            "0.0.0.0:11100",
            "[2001:db8::1]:11100",
            "localhost:evil",
            "",
        ] {
            assert_eq!(
                status(&app, method, path, host),
                421,
                "{method} {path} {host:?}"
            );
        }
    }
    assert_eq!(collects(&app), 0);
    let answer = app.request("GET", "/v1/clusters", &[("Host", EVIL)]);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(
        (&problem["status"], &problem["title"]),
        (&421.into(), &"Misdirected Request".into())
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("\"evil.example:11100\""), "{detail}");
    assert!(detail.contains("`names` in [http]"), "{detail}");
    let said = app.wait_for_log(|line| line["message"] == "request refused");
    assert!(
        said["error"].as_str().unwrap().contains("evil.example"),
        "{said}"
    );
    // What needs no name is answered by any.
    for path in ["/healthz", "/readyz", "/test"] {
        assert_eq!(status(&app, "GET", path, EVIL), 200, "{path}");
    }
}

#[test]
fn its_addresses_localhost_and_the_machines_name_are_its_own() {
    let app = TestApp::start(&format!(
        "[http]\nnames = [\"Fleetcall.Example\"]\norigins = [\"https://ops.example:8443\"]\n{FLEET}"
    ));
    let machine = rustix::system::uname();
    let machine = machine.nodename().to_string_lossy();
    let port = app.addr.port();
    for host in [
        "localhost",
        "LocalHost.",
        &format!("localhost:{port}"),
        &format!("127.0.0.1:{port}"),
        // Another port may lead here.
        "127.0.0.1:8080",
        "127.0.0.2",
        "[::1]:8080",
        "[::ffff:127.0.0.1]",
        &machine,
        &format!("{machine}:11100"),
        "fleetcall.example",
        "FLEETCALL.example.:443",
        "ops.example",
        "ops.example:8443",
    ] {
        assert_eq!(status(&app, "GET", "/v1/clusters", host), 200, "{host}");
    }
    for host in [
        "x.fleetcall.example",
        "fleetcall.example..",
        "ops.example:8443:1",
    ] {
        assert_eq!(status(&app, "GET", "/v1/clusters", host), 421, "{host}");
    }
    // A page that was loaded by such a name may do what a page of this service may.
    let page = |origin| [("Host", "fleetcall.example"), ("Origin", origin)];
    let plain = page("http://fleetcall.example");
    assert_eq!(app.request("POST", "/v1/collect", &plain).status, 200);
    // By https it is another service of that name, unless the browser says that it is this one,
    // through a proxy.
    let [host, origin] = page("https://fleetcall.example");
    for (site, expected) in [
        (None, 403),
        (Some("same-origin"), 200),
        (Some("same-site"), 403),
        (Some("none"), 403),
    ] {
        let site = site.map(|site| ("Sec-Fetch-Site", site));
        let headers: Vec<_> = [host, origin].into_iter().chain(site).collect();
        let status = app.request("POST", "/v1/collect", &headers).status;
        assert_eq!(status, expected, "{site:?}");
    }
}

#[test]
fn every_name_that_a_request_says_counts() {
    let app = TestApp::start(FLEET);
    for (head, expected) in [
        (
            "GET http://evil.example/v1/clusters HTTP/1.1\r\nHost: localhost",
            "421",
        ),
        (
            "GET http://localhost/v1/clusters HTTP/1.1\r\nHost: evil.example",
            "421",
        ),
        (
            "GET http://localhost/v1/clusters HTTP/1.1\r\nHost: localhost",
            "200",
        ),
        (
            "GET /v1/clusters HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
            "4",
        ),
        (
            "GET /v1/clusters HTTP/1.1\r\nHost: evil.example\r\nHost: localhost",
            "4",
        ),
        // A client that says none is no browser.
        ("GET /v1/clusters HTTP/1.0\r\nAccept: */*", "200"),
    ] {
        let answer = raw(&app, head);
        let start = answer.split_once(' ').map_or("", |(_, rest)| rest);
        assert!(start.starts_with(expected), "{head}\n{answer}");
    }
    let long = format!(
        "GET /v1/clusters HTTP/1.1\r\nHost: {}",
        "\u{e9}".repeat(4000)
    );
    let answer = raw(&app, &long);
    assert!(answer.contains(" 421 ") && answer.len() < 2000, "{answer}");
}

#[test]
fn names_are_not_looked_at_where_tokens_or_unknown_names_are() {
    // What keeps a page out there is the token.
    let service = Guarded::start();
    let bearer = format!("Bearer {READ}");
    let ask = |headers: &[(&str, &str)]| service.app.request("GET", "/v1/clusters", headers).status;
    assert_eq!(ask(&[("Host", EVIL), ("Authorization", &bearer)]), 200);
    assert_eq!(ask(&[("Host", EVIL)]), 401);
    // It is asked by whatever name the network has for it.
    let everybody = ["--bind", "0.0.0.0", "--insecure"];
    let app = TestApp::start_with(FLEET, &everybody);
    assert_eq!(
        status(&app, "GET", "/metrics", "fleetcall.monitoring.svc:11100"),
        200
    );
    // Unless the configuration knows them.
    let names = format!("[http]\nnames = [\"fleetcall.monitoring.svc\"]\n{FLEET}");
    let app = TestApp::start_with(&names, &everybody);
    for (host, expected) in [
        ("fleetcall.monitoring.svc:11100", 200),
        ("192.0.2.1:11100", 200),
        ("localhost:11100", 200),
        (EVIL, 421),
    ] {
        assert_eq!(status(&app, "GET", "/metrics", host), expected, "{host}");
    }
}

#[test]
fn a_page_of_another_origin_begins_no_roll_call() {
    let app = TestApp::start(&format!(
        "[http]\norigins = [\"https://ops.example\"]\n{FLEET}"
    ));
    let own = format!("http://{}", app.addr);
    let roll_calls = [
        ("GET", "/v1/report"),
        ("GET", "/v1/report?max_age=1s"),
        ("GET", "/v1/%72eport"),
        ("HEAD", "/v1/report"),
        ("POST", "/v1/collect"),
        ("POST", "/v1/clusters/1/collect"),
        ("POST", "/v1/clusters/1/nodes/1/collect"),
        ("POST", "/v1/clusters/1/nodes/1/reset"),
        ("POST", "/v1/reload"),
    ];
    for (method, path) in roll_calls {
        for foreign in [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
            ("Origin", "https://evil.example"),
            ("Origin", "http://127.0.0.1:1"),
            ("Origin", "null"),
        ] {
            let answer = app.request(method, path, &[foreign, ("Accept", "*/*")]);
            assert_eq!(answer.status, 403, "{method} {path} {foreign:?}");
        }
    }
    assert_eq!(collects(&app), 0, "a roll call was made");
    // What it may not begin it may still lead to: a link in a wiki shows the page.
    for path in ["/", "/v1/clusters", "/healthz", "/test"] {
        let answer = app.request("GET", path, &[("Sec-Fetch-Site", "cross-site")]);
        assert_eq!(answer.status, 200, "{path}");
    }
    for (method, path) in roll_calls {
        for allowed in [
            ("Sec-Fetch-Site", "same-origin"),
            ("Sec-Fetch-Site", "none"),
            ("Origin", "https://ops.example"),
            ("Origin", &own),
        ] {
            let status = app.request(method, path, &[allowed]).status;
            assert!(
                status == 200 || status == 429,
                "{method} {path} {allowed:?}: {status}"
            );
        }
    }
}

#[test]
fn what_no_browser_sends_is_taken_for_a_page_elsewhere() {
    const LISTED: &str = "https://ops.example";
    let config = format!("[http]\norigins = [\"{LISTED}\"]\n{FLEET}");
    let app = TestApp::start(&config);
    let own = &format!("http://{}", app.addr);
    let (site, origin) = ("Sec-Fetch-Site", "Origin");
    for headers in [
        // Another word, or one that is written otherwise.
        &[(site, "same-Origin")][..],
        &[(site, "None")],
        &[(site, "")],
        &[(site, "same-origin, none")],
        &[(site, "same-origin;x")],
        &[(site, "\"same-origin\"")],
        &[(site, "same_origin")],
        &[(site, "trusted")],
        // Several.
        &[(site, "same-origin"), (site, "same-origin")],
        &[(site, "none"), (site, "cross-site")],
        &[(site, "cross-site"), (site, "none")],
        &[(origin, own), (origin, own)],
        &[(origin, own), (origin, "https://evil.example")],
        &[(origin, LISTED), (origin, "https://evil.example")],
        &[(origin, LISTED), (site, "none"), (site, "none")],
        &[(origin, &format!("{own}, {own}"))],
        // A browser that says both says the same by both.
        &[(origin, own), (site, "cross-site")],
        &[(origin, own), (site, "same-site")],
        &[(origin, "https://evil.example"), (site, "same-origin")],
        &[(origin, ""), (site, "same-origin")],
    ] {
        for (method, path) in [("GET", "/v1/report"), ("POST", "/v1/reload")] {
            let answer = app.request(method, path, headers);
            assert_eq!(answer.status, 403, "{method} {headers:?}");
            let allowed = answer.header("access-control-allow-origin");
            assert!(
                allowed.is_none() || headers.starts_with(&[(origin, LISTED), (site, "none")]),
                "{headers:?}"
            );
        }
    }
    assert_eq!(collects(&app), 0);
    for headers in [
        &[(origin, own.as_str()), (site, "same-origin")][..],
        &[(origin, LISTED), (site, "cross-site")],
        &[(origin, LISTED), (site, "same-site")],
    ] {
        let answer = app.request("POST", "/v1/reload", headers);
        assert_eq!(answer.status, 200, "{headers:?}");
    }
}

#[test]
fn test_is_open_to_all_pages_unless_the_configuration_says_otherwise() {
    let closed = format!("[http]\ntest_cors = false\norigins = [\"https://ops.example\"]\n{FLEET}");
    let app = TestApp::start(&closed);
    let ask = |method, headers: &[(&str, &str)]| app.request(method, "/test", headers);
    let answer = ask("GET", &[]);
    assert_eq!(
        (answer.status, answer.header("x-resource-count")),
        (200, Some("2"))
    );
    assert!(
        answer.body.starts_with("{\"error_code\":0,"),
        "{}",
        answer.body
    );
    let is_cors = |name: &str| name.starts_with("access-control-");
    let has_cors =
        |answer: &crate::harness::Answer| answer.headers.iter().any(|(name, _)| is_cors(name));
    assert!(!has_cors(&answer), "{answer:?}");
    app.wait_for_log(|line| line["message"] == "collected");
    for (headers, expected) in [
        ([("Host", EVIL)], 421),
        ([("Sec-Fetch-Site", "cross-site")], 403),
        ([("Origin", "https://evil.example")], 403),
    ] {
        let refused = ask("GET", &headers);
        assert_eq!(
            (refused.status, has_cors(&refused)),
            (expected, false),
            "{headers:?}"
        );
        assert_eq!(refused.json()["error_code"], 2);
    }
    assert_eq!(collects(&app), 1);
    let listed = ask("GET", &[("Origin", "https://ops.example")]);
    let allowed = listed.header("access-control-allow-origin");
    assert_eq!((listed.status, allowed), (200, Some("https://ops.example")));
    let asks = ("Access-Control-Request-Method", "GET");
    assert_eq!(
        ask("OPTIONS", &[("Origin", "https://ops.example"), asks]).status,
        204
    );
    assert_eq!(
        ask("OPTIONS", &[("Origin", "https://evil.example"), asks]).status,
        403
    );
    let answer = ask("OPTIONS", &[]);
    assert_eq!((answer.status, has_cors(&answer)), (200, false));
    // A reload opens it again.
    std::fs::write(&app.config, FLEET).unwrap();
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
    let answer = ask(
        "GET",
        &[
            ("Origin", "https://evil.example"),
            ("Sec-Fetch-Site", "cross-site"),
        ],
    );
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("*"))
    );
}
