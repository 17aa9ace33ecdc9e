//! Pages of other origins, and the headers that bind browsers.

use crate::guarded::{FLEET, Guarded, READ};
use crate::harness::TestApp;

const OPS: &str = "https://ops.example";

fn listed() -> Guarded {
    Guarded::start_with(
        &format!("origins = [\"{OPS}\", \"http://localhost:8080\"]"),
        &[],
    )
}

#[test]
fn a_page_of_a_listed_origin_reads_v1_and_no_other_does() {
    let service = listed();
    let bearer = format!("Bearer {READ}");
    let ask = |path, origin| {
        let headers = [("Authorization", bearer.as_str()), ("Origin", origin)];
        service.app.request("GET", path, &headers)
    };
    for origin in [OPS, "http://localhost:8080"] {
        let answer = ask("/v1/supervision", origin);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    for other in [
        "https://ops.example:8443",
        "http://ops.example",
        "https://evil.example",
        "null",
    ] {
        let answer = ask("/v1/supervision", other);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{other}"
        );
        assert_eq!(answer.header("vary"), Some("Origin"), "{other}");
    }
    assert_eq!(
        ask("/nowhere", OPS).header("access-control-allow-origin"),
        None
    );
    // The contract's path stays open to all, for reading.
    let answer = ask("/test", "https://evil.example");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("*"))
    );
    // Also what is refused can be read by the page that may.
    let answer = service
        .app
        .request("GET", "/v1/supervision", &[("Origin", OPS)]);
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (401, Some(OPS))
    );
}

#[test]
fn a_preflight_needs_no_token_but_a_listed_origin() {
    let service = listed();
    let preflight = |path, origin| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
        ];
        service.app.request("OPTIONS", path, &headers)
    };
    let answer = preflight("/v1/reload", OPS);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(answer.header("access-control-allow-origin"), Some(OPS));
    let allowed = answer.header("access-control-allow-headers").unwrap();
    assert!(allowed.contains("Authorization"), "{allowed}");
    assert_eq!(
        answer.header("access-control-allow-methods"),
        Some("GET, HEAD, POST")
    );
    let answer = preflight("/v1/reload", "https://evil.example");
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("access-control-allow-methods"), None);
    // One that is none is a request like any other.
    assert_eq!(
        service
            .app
            .request("OPTIONS", "/v1/reload", &[("Origin", OPS)])
            .status,
        401
    );
}

#[test]
fn a_page_elsewhere_cannot_change_a_service_without_tokens() {
    let app = TestApp::start(&format!("[http]\norigins = [\"{OPS}\"]\n{FLEET}"));
    let reload = |origin: &str| app.request("POST", "/v1/reload", &[("Origin", origin)]);
    for evil in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(reload(evil).status, 403, "{evil}");
    }
    assert_eq!(reload(OPS).status, 200);
    assert_eq!(
        reload(&format!("http://{}", app.addr)).status,
        200,
        "a page of its own"
    );
    assert_eq!(
        app.request("POST", "/v1/reload", &[]).status,
        200,
        "no browser"
    );
}

#[test]
fn every_answer_but_those_of_test_binds_browsers() {
    let service = Guarded::start();
    for (path, token) in [
        ("/v1/supervision", READ),
        ("/v1/supervision", "wrong"),
        ("/nowhere", READ),
    ] {
        let answer = service.ask("GET", path, token);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path} {name}");
        }
    }
    let answer = service.ask("GET", "/test", READ);
    assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
    assert_eq!(answer.header("x-frame-options"), None);
    // Where there are no tokens, an answer is nobody's secret.
    let app = TestApp::start(FLEET);
    let answer = app.request("GET", "/v1/supervision", &[]);
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        (answer.header("cache-control"), answer.header("vary")),
        (None, None)
    );
}
