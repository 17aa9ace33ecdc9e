//! Tokens and what their roles allow.

use crate::guarded::{ADMIN, COLLECT, FLEET, Guarded, READ, http, token_file, until};
use crate::harness::TestApp;

/// Right and not: of the same length, shorter, longer, empty.
const WRONG: [&str; 5] = [
    "r3ad-0123456789abcdeg",
    "r3ad-0123456789abcde",
    "r3ad-0123456789abcdef0",
    "R3AD-0123456789ABCDEF",
    "",
];

#[test]
fn each_role_may_what_it_may_and_no_more() {
    let service = Guarded::start();
    // Whether the role suffices, not what there is: 403 or something else that is not 401.
    for (method, path, needed) in [
        ("GET", "/test", 0),
        ("GET", "/v1/supervision", 0),
        ("HEAD", "/v1/supervision", 0),
        ("GET", "/nowhere", 0),
        ("POST", "/v1/collect", 1),
        ("POST", "/v1/clusters/1/collect", 1),
        ("POST", "/v1/clusters/1/nodes/2/collect", 1),
        ("POST", "/v1/clusters/1/switches/2/collect", 1),
        ("POST", "/v1/clusters/1/nodes/2/reset", 1),
        ("POST", "/v1/clusters/1/switches/2/reset", 1),
        ("POST", "/v1/reload", 2),
        ("DELETE", "/v1/supervision", 2),
        ("POST", "/nowhere", 2),
    ] {
        for (role, token) in [READ, COLLECT, ADMIN].into_iter().enumerate() {
            let status = service.status(method, path, token);
            assert_ne!(status, 401, "{method} {path} {token}");
            assert_eq!(
                status == 403,
                role < needed,
                "{method} {path} {token}: {status}"
            );
        }
        let answer = service.app.request(method, path, &[]);
        assert_eq!(answer.status, 401, "{method} {path}");
        for wrong in WRONG {
            assert_eq!(service.status(method, path, wrong), 401, "{method} {path}");
        }
    }
    assert_eq!(
        service.ask("GET", "/test", READ).devices(),
        ["1/n1", "1/n2"]
    );
    assert_eq!(service.status("POST", "/v1/reload", ADMIN), 200);
}

#[test]
fn the_log_says_who_forced_and_who_reset() {
    let service = Guarded::start();
    let reset = "/v1/clusters/1/nodes/2/reset";
    assert_eq!(service.status("POST", reset, COLLECT), 200);
    assert_eq!(service.status("POST", reset, ADMIN), 200);
    let forced = "/v1/collect?force=true";
    assert_eq!(service.status("POST", forced, READ), 403);
    assert_eq!(service.status("POST", forced, COLLECT), 200);
    // What only reads forces nothing, whatever the role.
    let read = service.ask("GET", "/v1/report?force=true", ADMIN);
    assert_eq!(read.status, 400, "{}", read.body);
    let by = |message: &str, count| -> Vec<String> {
        let fits = |line: &serde_json::Value| line["message"] == message;
        let lines = service.app.wait_for_logs(count, fits);
        let by = lines.iter().map(|line| line["by"].as_str().unwrap());
        by.map(str::to_owned).collect()
    };
    assert_eq!(by("device reset", 2), ["the-collect-one", "the-admin-one"]);
    assert_eq!(by("roll call by force", 1), ["the-collect-one"]);
}

#[test]
fn a_client_hears_what_would_be_right() {
    let service = Guarded::start();
    let answer = service.app.request("GET", "/v1/supervision", &[]);
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer realm=\"fleetcall\"")
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(answer.json()["status"], 401);
    let answer = service.ask("GET", "/v1/supervision", WRONG[0]);
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    let answer = service.ask("POST", "/v1/reload", READ);
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("scope=\"admin\""), "{challenge}");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(
        detail,
        "the token \"the-read-one\" allows `read`, and this needs `admin`"
    );
    let line = service
        .app
        .wait_for_log(|line| line["message"] == "request refused" && line["level"] == "warn");
    assert_eq!(
        (&line["client"], &line["path"]),
        (&"127.0.0.1".into(), &"/v1/supervision".into())
    );
}

#[test]
fn a_token_is_shown_as_rfc_6750_has_it() {
    let service = Guarded::start();
    for (header, status) in [
        (format!("bearer {READ}"), 200),
        (format!("BEARER  {READ} "), 200),
        (format!("Basic {READ}"), 401),
        (READ.to_owned(), 401),
        ("Bearer".to_owned(), 401),
    ] {
        let headers = [("Authorization", header.as_str())];
        let answer = service.app.request("GET", "/v1/supervision", &headers);
        assert_eq!(answer.status, status, "{header}");
    }
    let path = format!("/v1/supervision?access_token={READ}");
    assert_eq!(
        service.app.request("GET", &path, &[]).status,
        401,
        "queries are logged by proxies"
    );
}

#[test]
fn the_front_end_of_test_shows_its_token_where_the_contract_lets_it() {
    let service = Guarded::start();
    let headers = [("X-Access-Token", READ)];
    assert_eq!(service.app.request("GET", "/test", &headers).status, 200);
    assert_eq!(
        service
            .app
            .request("GET", "/v1/supervision", &headers)
            .status,
        401
    );
    let both = [("X-Access-Token", READ), ("Authorization", "Bearer wrong")];
    assert_eq!(service.app.request("GET", "/test", &both).status, 401);
    let wrong = [("X-Access-Token", "r3ad-0123456789abcdeg")];
    let answer = service.app.request("GET", "/test", &wrong);
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-max-age"), Some("1000"));
    assert_eq!(
        answer.body,
        r#"{"error_code":2,"message":"the token is not known here","data":null}"#
    );
    // A preflight shows no token, and other methods are still not defined.
    assert_eq!(service.app.request("OPTIONS", "/test", &[]).status, 200);
    assert_eq!(service.status("POST", "/test", READ), 405);
}

#[test]
fn whoever_watches_over_the_process_needs_no_token() {
    let service = Guarded::start();
    for path in ["/healthz", "/readyz"] {
        assert_ne!(service.app.request("GET", path, &[]).status, 401, "{path}");
        assert_eq!(service.app.request("POST", path, &[]).status, 401, "{path}");
    }
}

#[test]
fn without_tokens_everybody_here_may_all_of_it() {
    let app = TestApp::start(FLEET);
    assert_eq!(app.get().status, 200);
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
}

#[test]
fn a_reload_reads_the_tokens_again_and_refuses_bad_ones() {
    let service = Guarded::start();
    let file = token_file(&service.dir, "read");
    let new = "an0ther-0123456789abcdef";
    std::fs::write(&file, new).unwrap();
    assert_eq!(service.status("POST", "/v1/reload", ADMIN), 200);
    assert_eq!(service.status("GET", "/test", READ), 401);
    assert_eq!(service.status("GET", "/test", new), 200);
    for (content, why) in [
        (Some("sh0rt"), "less than 16 characters"),
        (Some("with space 0123456789abcdef"), "characters other than"),
        (Some(ADMIN), "the token is that of"),
        (Some(""), "less than 16 characters"),
        (None, "cannot read the secret in"),
    ] {
        match content {
            Some(content) => std::fs::write(&file, content).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let answer = service.ask("POST", "/v1/reload", ADMIN);
        assert_eq!(answer.status, 422, "{}", answer.body);
        let fault = &answer.json()["faults"][0];
        let message = fault["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
        assert!(
            !content.is_some_and(|it| !it.is_empty() && message.contains(it)),
            "{message}"
        );
        if why.contains("that of") {
            assert_eq!(fault["key"], "http.tokens[2].token");
        } else {
            assert_eq!(
                (&fault["line"], &fault["key"]),
                (&3.into(), &"http.tokens[0].token".into())
            );
        }
        assert_eq!(
            service.status("GET", "/test", new),
            200,
            "the one of before stays"
        );
    }
}

#[test]
fn a_token_whose_file_changes_is_used_without_a_reload() {
    let service = Guarded::start();
    let new = "an0ther-0123456789abcdef";
    // As secrets are exchanged: a new file takes the place of the old one.
    let next = service.dir.join("next");
    std::fs::write(&next, new).unwrap();
    std::fs::rename(&next, token_file(&service.dir, "read")).unwrap();
    until("the new token is taken", || {
        service.status("GET", "/test", new) == 200
    });
    assert_eq!(service.status("GET", "/test", READ), 401);
    assert_eq!(service.status("GET", "/test", ADMIN), 200);
    // And one that cannot be used changes nothing.
    std::fs::write(token_file(&service.dir, "read"), "sh0rt").unwrap();
    service
        .app
        .wait_for_log(|line| line["key"] == "http.tokens[0].token" && line["level"] == "error");
    assert_eq!(service.status("GET", "/test", new), 200);
}

#[test]
fn a_token_whose_file_cannot_be_read_stays_for_a_while() {
    let stays = |line: &serde_json::Value| {
        line["message"] == "a token cannot be used, the one of before stays"
    };
    let service = Guarded::start();
    let file = token_file(&service.dir, "read");
    std::fs::remove_file(&file).unwrap();
    // As a file on a mount that hangs: a pipe that nobody writes to.
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    let line = service.app.wait_for_log(stays);
    assert_eq!(line["stays"], "1h");
    assert_eq!(line["token"], "the-read-one");
    let why = line["fault"].as_str().unwrap();
    assert!(why.contains("it is a pipe, not a regular file"), "{why}");
    assert_eq!(service.status("GET", "/test", READ), 200);
    // A reload is refused, and changes nothing of that.
    assert_eq!(service.status("POST", "/v1/reload", ADMIN), 422);
    assert_eq!(service.status("GET", "/test", READ), 200);
    std::fs::remove_file(&file).unwrap();
    let new = "an0ther-0123456789abcdef";
    std::fs::write(&file, new).unwrap();
    service
        .app
        .wait_for_log(|line| line["message"] == "a token can be used again");
    until("it is in force", || {
        service.status("GET", "/test", new) == 200
    });
    assert_eq!(service.status("GET", "/test", READ), 401);
    let log = service.app.log();
    assert_eq!(log.iter().filter(|line| stays(line)).count(), 1);
}

#[test]
fn the_log_says_each_reason_why_a_token_cannot_be_used() {
    let service = Guarded::start();
    let file = token_file(&service.dir, "read");
    let faults = |count| {
        let is_fault =
            |line: &serde_json::Value| line["token"] == "the-read-one" && line["level"] == "error";
        let lines = service.app.wait_for_logs(count, is_fault);
        let line = lines.last().unwrap();
        let message = line["message"].as_str().unwrap().to_owned();
        (message, line["fault"].as_str().unwrap().to_owned())
    };
    let put = |text: &str| {
        let new = file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &file).unwrap();
    };
    std::fs::remove_file(&file).unwrap();
    let (message, fault) = faults(1);
    assert_eq!(message, "a token cannot be used, the one of before stays");
    assert!(fault.contains("No such file"), "{fault}");
    for (count, text, why) in [
        (2, "sh0rt", "less than 16 characters"),
        (3, "with space 0123456789abcdef", "characters other than"),
        (4, ADMIN, "the token is that of \"the-admin-one\" too"),
    ] {
        put(text);
        let (message, fault) = faults(count);
        assert_eq!(message, "a token cannot be used for another reason");
        assert!(fault.contains(why), "{fault}");
    }
    assert_eq!(service.status("GET", "/test", READ), 200);
    put(READ);
    service
        .app
        .wait_for_log(|line| line["message"] == "a token can be used again");
    let errors = service.app.log();
    let errors = errors.iter().filter(|line| line["level"] == "error");
    assert_eq!(errors.count(), 4);
}

#[test]
fn a_token_that_could_not_be_read_for_too_long_is_refused() {
    let service = Guarded::start_with("stale_tokens = \"1s\"", &[]);
    let file = token_file(&service.dir, "read");
    std::fs::remove_file(&file).unwrap();
    let line = service.app.wait_for_log(|line| {
        let message = line["message"].as_str().unwrap();
        message.starts_with("a token is refused from now on")
    });
    assert_eq!(line["key"], "http.tokens[0].token");
    let counts = |line: &serde_json::Value| (line["tokens"].as_u64(), line["refused"].as_u64());
    let access = |line: &serde_json::Value| line["message"] == "access";
    service
        .app
        .wait_for_log(|line| access(line) && counts(line) == (Some(2), Some(1)));
    assert_eq!(service.status("GET", "/test", READ), 401);
    assert_eq!(service.app.request("GET", "/test", &[]).status, 401);
    assert_eq!(service.status("GET", "/test", ADMIN), 200);
    // It comes back with its file.
    std::fs::write(&file, READ).unwrap();
    service
        .app
        .wait_for_log(|line| line["message"] == "a token can be used again");
    until("it is in force", || {
        service.status("GET", "/test", READ) == 200
    });
    let last = || {
        let log = service.app.log();
        log.iter().rfind(|line| access(line)).map(counts)
    };
    until("it is counted again", || last() == Some((Some(3), None)));
}

#[test]
fn tokens_that_are_exchanged_for_each_other_are_both_taken() {
    let service = Guarded::start();
    for (name, token) in [("read", COLLECT), ("collect", READ)] {
        std::fs::write(token_file(&service.dir, name), token).unwrap();
    }
    until("the tokens are exchanged", || {
        service.status("POST", "/v1/collect", COLLECT) == 403
    });
    assert_ne!(service.status("POST", "/v1/collect", READ), 403);
    assert_eq!(service.status("GET", "/test", READ), 200);
    assert_eq!(service.status("GET", "/test", COLLECT), 200);
}

#[test]
fn a_role_that_is_taken_back_is_gone_with_the_reload() {
    let service = Guarded::start();
    let text = http(&service.dir, "") + FLEET;
    let demoted = text.replace("role = \"collect\"", "role = \"read\"");
    std::fs::write(&service.app.config, demoted).unwrap();
    assert_ne!(service.status("POST", "/v1/collect", COLLECT), 403);
    assert_eq!(service.status("POST", "/v1/reload", ADMIN), 200);
    assert_eq!(service.status("POST", "/v1/collect", COLLECT), 403);
}

#[test]
fn the_last_token_of_a_service_that_all_can_reach_cannot_be_taken_away() {
    let service = Guarded::start_with("", &["--bind", "0.0.0.0"]);
    std::fs::write(&service.app.config, FLEET).unwrap();
    let answer = service.ask("POST", "/v1/reload", ADMIN);
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["faults"][0]["key"], "http.tokens");
    assert_eq!(service.app.request("GET", "/test", &[]).status, 401);
    // On this machine alone it can, and that is said.
    let service = Guarded::start();
    std::fs::write(&service.app.config, FLEET).unwrap();
    let answer = service.ask("POST", "/v1/reload", ADMIN);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(service.app.request("GET", "/test", &[]).status, 200);
    let warning = service.app.wait_for_log(|line| {
        let message = line["message"].as_str().unwrap();
        line["level"] == "warn" && message.starts_with("everybody who reaches this address may")
    });
    assert_eq!(warning["bind"], "127.0.0.1");
}

#[test]
fn a_reload_says_which_settings_of_http_it_changes() {
    let service = Guarded::start();
    let reload = |text: String| {
        std::fs::write(&service.app.config, text).unwrap();
        let answer = service.ask("POST", "/v1/reload", ADMIN);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let difference = answer.json();
        let changed = difference["changed_settings"].clone();
        assert_eq!(
            difference["settings_changed"],
            changed != serde_json::json!([])
        );
        changed
    };
    let with = |more: &str| http(&service.dir, more) + FLEET;
    // The same, some lines further down.
    assert_eq!(reload(format!("\n\n{}", with(""))), serde_json::json!([]));
    let rate = "rate = { per_second = 1000, burst = 2000 }\norigins = [\"https://a.example\"]\n";
    let changed = serde_json::json!(["http.origins", "http.rate"]);
    assert_eq!(reload(with(rate)), changed);
    let less = with(rate).replace("role = \"read\"", "role = \"collect\"");
    let collect = format!("[collect]\ndeadline = \"1m\"\n{less}");
    let changed = serde_json::json!(["collect.deadline", "http.tokens"]);
    assert_eq!(reload(collect), changed);
    let line = service
        .app
        .wait_for_logs(3, |line| line["message"] == "reloaded");
    assert_eq!(line[0].get("settings"), None, "{line:#?}");
    assert_eq!(line[2]["settings"], "collect.deadline,http.tokens");
    assert_eq!(reload(FLEET.to_owned())[1], "http.tokens");
}

#[test]
fn what_the_documentation_says_needs_no_token_needs_none_and_all_else_does() {
    let docs = std::fs::read_to_string("docs/security.md").unwrap();
    let row = docs
        .lines()
        .find(|line| line.starts_with("| `GET`, `HEAD` of `/healthz`"));
    let open: Vec<&str> = row
        .unwrap()
        .split('`')
        .filter(|it| it.starts_with('/'))
        .collect();
    assert_eq!(
        open,
        [
            "/healthz",
            "/readyz",
            "/",
            "/assets/…",
            "/openapi.json",
            "/docs/…"
        ]
    );
    let service = Guarded::start();
    for path in open {
        let path = path.replace("/assets/…", "/assets/app.js").replace('…', "");
        assert_eq!(service.app.request("GET", &path, &[]).status, 200, "{path}");
        assert_eq!(
            service.app.request("POST", &path, &[]).status,
            401,
            "{path}"
        );
    }
    for path in [
        "/test",
        "/metrics",
        "/v1/report",
        "/v1/supervision",
        "/docs",
        "/openapi.yaml",
        "/assets",
    ] {
        assert_eq!(service.app.request("GET", path, &[]).status, 401, "{path}");
    }
}
