//! `fleetcall collect --server`: a service asks, and whatever answers there does no harm.

use serde_json::Value;

use crate::harness::{TestApp, devices, fleetcall, run, stderr, stdout};
use crate::service::{Said, Service, lines, said, tree};

const THREE: &str = concat!(
    r#"{"cluster_id":1,"node_id":3,"outcome":"ok","duration_ms":12.5,"facts":{"load_1m":0.5}}"#,
    "\n",
    r#"{"cluster_id":1,"node_id":1,"outcome":"timed_out","duration_ms":1000.1,"error":{"kind":"timed_out","message":"no answer within 1s"}}"#,
    "\n",
    r#"{"cluster_id":1,"node_id":2,"outcome":"ok","duration_ms":3.25}"#,
    "\n",
);
const END: &str = r#"{"summary":{"asked":3,"ok":2,"failed":1},"collect":7,"duration_ms":1001.0}"#;

fn service(report: Said) -> Service {
    Service::start(tree(&[1, 2, 3]), report)
}

fn three() -> Service {
    service(lines(&format!("{THREE}{END}\n"), false))
}

fn ask(service: &Service, arguments: &[&str]) -> std::process::Output {
    run(fleetcall()
        .args(["collect", "--server", &service.url()])
        .args(arguments))
}

/// One line on standard error, and nothing that came.
fn complaint(service: &Service, arguments: &[&str]) -> String {
    let output = ask(service, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stderr(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "{text:?}"
    );
    text
}

#[test]
fn the_answer_is_that_of_test_in_configured_order() {
    let output = ask(&three(), &[]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let expected = concat!(
        r#"{"error_code":1,"message":"1 of 3 devices failed: cluster 1 node 1 (timed_out)","#,
        r#""data":[{"cluster_id":1,"nodes":["#,
        r#"{"node_id":1,"error":{"kind":"timed_out","message":"no answer within 1s"}},"#,
        r#"{"node_id":2},{"node_id":3,"facts":{"load_1m":0.5}}],"switches":[]}]}"#,
        "\n"
    );
    assert_eq!(stdout(&output), expected);
    let failed = ask(&three(), &["--failed"]);
    let failed: Value = serde_json::from_str(&stdout(&failed)).unwrap();
    assert_eq!(
        failed["message"],
        "1 of 3 devices failed: cluster 1 node 1 (timed_out)"
    );
    assert_eq!(failed["data"][0]["nodes"].as_array().unwrap().len(), 1);
}

#[test]
fn a_table_that_goes_into_a_file_is_not_cut() {
    let output = ask(&three(), &["--format", "table"]);
    assert_eq!(
        stdout(&output),
        "cluster  devices       ok   failed  slowest\n\
         1              3        2        1  node 1, 1.0 s\n\
         \n\
         cluster 1 node 1  timed_out  no answer within 1s\n\
         \n\
         3 devices: 2 ok, 1 failed (timed_out 1), in "
            .to_owned()
            + stdout(&output).rsplit(", in ").next().unwrap()
    );
}

#[test]
fn lines_come_as_the_service_says_them() {
    let output = ask(&three(), &["--format", "ndjson"]);
    assert_eq!(stdout(&output), format!("{THREE}{END}\n"));
    let failed = stdout(&ask(&three(), &["--format", "ndjson", "--failed"]));
    assert_eq!(failed.lines().count(), 2, "{failed}");
    assert!(failed.contains("\"node_id\":1") && failed.ends_with(&format!("{END}\n")));
}

#[test]
fn rows_are_for_spreadsheets_and_never_formulas() {
    let report = r#"{"cluster_id":1,"node_id":1,"outcome":"failed","error":{"kind":"failed","message":"=HYPERLINK(\"http://evil\",\"x\")"}}"#;
    let report = lines(&format!("{report}\n{THREE}{END}\n"), false);
    let output = ask(&service(report), &["--format", "csv"]);
    assert_eq!(
        stdout(&output),
        "cluster,kind,device,outcome,duration_ms,error,facts\r\n\
         1,node,1,failed,,\"'=HYPERLINK(\"\"http://evil\"\",\"\"x\"\")\",\r\n\
         1,node,2,ok,3.250,,\r\n\
         1,node,3,ok,12.500,,\"{\"\"load_1m\"\":0.5}\"\r\n"
    );
}

#[test]
fn the_service_is_asked_for_what_is_meant_and_shown_the_token() {
    let service = three();
    let dir = tempfile::TempDir::new().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret-from-file\n").unwrap();
    let output = run(fleetcall()
        .env("FLEETCALL_TOKEN", "s3cret-from-env")
        .args(["collect", "--server", &service.url(), "--cluster", "1,1"])
        .args([
            "--kind",
            "node",
            "--device",
            "[1-3]",
            "--device",
            "3",
            "--exclude",
            "2",
        ])
        .args(["--deadline", "1500ms", "--token-file"])
        .arg(&token));
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let asked = service.asked();
    let report = &asked[1];
    assert!(
        report.starts_with(
            "GET /v1/report?cluster=1%2C1&device=%5B1-3%5D%2C3&exclude=2&kind=node&deadline=1s+500ms "
        ),
        "{report}"
    );
    let report = report.to_ascii_lowercase();
    assert!(
        report.contains("\r\naccept: application/x-ndjson\r\n"),
        "{report}"
    );
    for request in &asked {
        let request = request.to_ascii_lowercase();
        assert!(
            request.contains("\r\nauthorization: bearer s3cret-from-file\r\n"),
            "{request}"
        );
    }
    run(fleetcall().env("FLEETCALL_TOKEN", "s3cret-from-env").args([
        "collect",
        "--server",
        &service.url(),
    ]));
    assert!(service.asked()[2].contains("Bearer s3cret-from-env\r\n"));
    let shown = run(fleetcall()
        .env("FLEETCALL_TOKEN", "s3cret\nfrom-env")
        .args(["collect", "--debug", "--server", &service.url()]));
    assert_eq!(shown.status.code(), Some(1));
    assert!(!stderr(&shown).contains("s3cret"), "{}", stderr(&shown));
    assert!(stderr(&shown).contains("characters that no token has"));
}

#[test]
fn a_token_that_cannot_be_read_is_one_clear_line() {
    let service = three();
    let line = complaint(&service, &["--token-file", "/nowhere/token"]);
    assert!(
        line.contains("cannot read the secret in /nowhere/token"),
        "{line}"
    );
    assert!(service.asked().is_empty());
}

#[test]
fn what_is_no_service_is_one_clear_line() {
    let problem =
        r#"{"title":"Unauthorized","status":401,"detail":"no token; \u001b[2Jwrite one"}"#;
    for (tree, report, expected) in [
        (
            said("404 Not Found", "text/plain", ""),
            lines("", false),
            "/v1/supervision answers 404 Not Found; the service has no such path",
        ),
        (
            tree(&[1]),
            said("404 Not Found", "text/plain", ""),
            "/v1/report answers 404 Not Found; the service has no such path, so it is older",
        ),
        (
            said("401 Unauthorized", "application/problem+json", problem),
            lines("", false),
            "answers 401 Unauthorized: no token; \u{fffd}[2Jwrite one",
        ),
        (
            tree(&[1]),
            said("503 Service Unavailable", "text/html", "<h1>no</h1>"),
            "its status is 503 Service Unavailable",
        ),
        (
            said("200 OK", "text/html", "<h1>hello</h1>"),
            lines("", false),
            "does not answer as a fleetcall service does: expected value at line 1",
        ),
        (
            tree(&[1]),
            said("200 OK", "application/json", "{}"),
            "this is no stream of lines",
        ),
        (
            said("302 Found", "text/plain", ""),
            lines("", false),
            "its status is 302 Found",
        ),
    ] {
        let service = Service::start(tree, report);
        let line = complaint(&service, &[]);
        assert!(line.contains(expected), "{expected}: {line}");
    }
    // Other commands pass on why they are refused, too.
    for command in [&["tree"][..], &["reset", "1"]] {
        let refused = said("401 Unauthorized", "application/problem+json", problem);
        let service = Service::start(refused, lines("", false));
        let mut asking = fleetcall();
        let asking = asking.args(command).args(["--server", &service.url()]);
        let line = stderr(&run(asking));
        let expected = "answers 401 Unauthorized: no token; \u{fffd}[2Jwrite one\n";
        assert!(line.ends_with(expected), "{line}");
    }
    // What they are shown the token for is one server: no command goes on to another.
    let elsewhere = Service::start(tree(&[1]), lines("", false));
    for command in [&["collect"][..], &["tree"], &["workers"], &["reset", "1"]] {
        let kind = format!("text/plain\r\nLocation: {}/v1/supervision", elsewhere.url());
        let moved = said("307 Temporary Redirect", &kind, "");
        let service = Service::start(moved.clone(), moved);
        let mut asking = fleetcall();
        asking.env("FLEETCALL_TOKEN", "s3cret-from-env");
        asking.args(command).args(["--server", &service.url()]);
        let line = stderr(&run(&mut asking));
        assert!(line.contains("its status is 307 Temporary"), "{line}");
        let asked = service.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].contains("Bearer s3cret-from-env\r\n"), "{asked:?}");
        assert_eq!(elsewhere.asked(), [""; 0], "{command:?}");
    }
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr();
    let gone = format!("http://{}", gone.unwrap());
    let output = run(fleetcall().args(["collect", "--server", &gone]));
    assert_eq!(output.status.code(), Some(1));
    let line = stderr(&output);
    assert!(
        line.starts_with(&format!("fleetcall: cannot ask {gone}/v1/supervision: ")),
        "{line}"
    );
    assert!(line.contains("Connection refused"), "{line}");
    for command in [&["collect"][..], &["tree"]] {
        let hidden = run(fleetcall()
            .args(command)
            .args(["--server", "http://u:hunter2@x/"]));
        assert_eq!(hidden.status.code(), Some(2));
        let said = stderr(&hidden) + &stdout(&hidden);
        assert!(said.contains("user information in the address"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let commands = [
        &["collect"][..],
        &["tree"],
        &["tree", "--watch"],
        &["workers"],
        &["reset", "1"],
    ];
    for bad in ["localhost:11100", "foo", "ftp://x", "http://x/?a=b", ""] {
        for command in commands {
            let output = run(fleetcall().args(command).args(["--server", bad]));
            assert_eq!(output.status.code(), Some(2), "{command:?} {bad}");
            let expected = format!(
                "fleetcall: --server {bad:?} is no address of a service; write one such as \
                 \"http://127.0.0.1:11100\"\n"
            );
            assert_eq!(stderr(&output), expected, "{command:?}");
        }
    }
}

#[test]
fn a_stream_that_breaks_off_is_shown_as_far_as_it_came() {
    let long = format!(
        "{{\"cluster_id\":1,\"node_id\":2,\"x\":\"{}\"}}",
        "x".repeat(17 << 20)
    );
    for (report, expected) in [
        (THREE.to_owned(), "it ended before its summary"),
        (format!("{THREE}{{\"cluster"), "it ended before its summary"),
        (format!("{THREE}nonsense\n"), "expected ident at line 1"),
        (
            format!("{THREE}{{\"cluster_id\":1}}\n"),
            "neither a node nor a switch",
        ),
        (format!("{THREE}{long}\n"), "a line is too long"),
        (
            format!("{THREE}\n\n{{\"status\":503,\"detail\":\"shutting down\"}}\n"),
            "report: shutting down",
        ),
    ] {
        let service = Service::start(tree(&[1, 2, 3, 4]), lines(&report, false));
        let output = ask(&service, &[]);
        assert_eq!(output.status.code(), Some(1), "{expected}");
        let line = stderr(&output);
        assert!(
            line.contains(expected) && line.contains("1 of 4 devices had not answered"),
            "{expected}: {line}"
        );
        let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let nodes = &json["data"][0]["nodes"];
        assert_eq!(nodes[2]["facts"]["load_1m"], 0.5);
        assert_eq!(nodes[3]["error"]["kind"], "cancelled");
    }
}

#[test]
fn a_kind_of_failure_that_is_newer_than_this_is_still_a_failure() {
    let report = r#"{"cluster_id":1,"node_id":1,"outcome":"asleep","duration_ms":-1e300,"error":{"kind":"asleep","message":"at night"}}"#;
    let service = Service::start(tree(&[1]), lines(&format!("{report}\n{END}\n"), false));
    let output = ask(&service, &["--format", "csv"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stdout(&output).contains("1,node,1,failed,,asleep: at night,"),
        "{}",
        stdout(&output)
    );
}

const FLEET: &str = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\n\
    nodes = [\"1-2\", { ids = \"bad\", lookup = { script = [\"fail\"] } }]\nswitches = \"1\"\n\
    [[clusters]]\nid = \"edge\"\nnodes = \"web[01-03]\"\n";

/// Asked from here, and by a service with the same configuration.
fn both(app: &TestApp, arguments: &[&str]) -> [std::process::Output; 2] {
    let server = format!("http://{}", app.addr);
    let here = ["--config", app.config.to_str().unwrap()];
    let there = ["--server", &server];
    [here, there].map(|from| run(fleetcall().arg("collect").args(arguments).args(from)))
}

#[test]
fn a_real_service_gives_the_answer_that_asking_from_here_gives() {
    let app = TestApp::start(FLEET);
    for (arguments, code, expected) in [
        (
            vec![],
            3,
            vec![
                "1/n1",
                "1/n2",
                "1/nbad:failed",
                "1/s1",
                "edge/nweb01",
                "edge/nweb02",
                "edge/nweb03",
            ],
        ),
        (
            vec!["--cluster", "edge", "--device", "web[02-09]"],
            0,
            vec!["edge/nweb02", "edge/nweb03"],
        ),
        (vec!["--kind", "switch"], 0, vec!["1/s1"]),
        (
            vec!["--cluster", "edge", "--cluster", "1", "--device", "1"],
            0,
            vec!["1/n1", "1/s1"],
        ),
        (vec!["--failed", "--cluster", "1"], 3, vec!["1/nbad:failed"]),
        (
            vec![
                "--cluster",
                "edge",
                "--exclude",
                "web01",
                "--exclude",
                "web03,bad",
            ],
            0,
            vec!["edge/nweb02"],
        ),
        (
            vec!["--device", "web[01-03]!web02", "--device", "2"],
            0,
            vec!["1/n2", "edge/nweb01", "edge/nweb03"],
        ),
    ] {
        for output in both(&app, &arguments) {
            assert_eq!(
                output.status.code(),
                Some(code),
                "{arguments:?}: {}",
                stderr(&output)
            );
            let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
            assert_eq!(devices(&json), expected, "{arguments:?}");
        }
    }
    for (arguments, expected) in [
        (
            ["--cluster", "edg"],
            "`cluster`: there is no cluster \"edg\"; there are 1, edge; did you mean \"edge\"?",
        ),
        (
            ["--device", "web[01-03,10]"],
            "`device`: there is no device \"web10\"; there are 1, 2, bad, web01, web02, web03; did \
             you mean \"web01\"?",
        ),
        (
            ["--exclude", "wbe01"],
            "`exclude`: there is no device \"wbe01\" to take away; there are 1, 2, bad, web01, web02, \
             web03; did you mean \"web01\"?",
        ),
        (
            ["--exclude", "1-2,bad,web[01-03]"],
            "no device of the fleet is meant: all that would be are excluded",
        ),
    ] {
        for output in both(&app, &arguments) {
            assert_eq!(
                (output.status.code(), stdout(&output).as_str()),
                (Some(1), "")
            );
            let expected = format!("fleetcall: no answer: {expected}\n");
            assert_eq!(stderr(&output), expected, "{arguments:?}");
        }
    }
}

#[test]
fn lines_are_alike_wherever_they_come_from() {
    let app = TestApp::start(FLEET);
    let [here, there] = both(&app, &["--format", "ndjson"]).map(|output| {
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        let text = stdout(&output);
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 8, "{text}");
        let end = lines.last().unwrap();
        assert_eq!(end["summary"]["asked"], 7);
        assert_eq!(end["summary"]["faults"]["failed"], 1);
        // What differs from one time to the next, and in which order they come.
        let mut names: Vec<String> = lines[..7]
            .iter()
            .map(|line| {
                assert!(
                    line["observed_at"].is_string() && line["duration_ms"].is_f64(),
                    "{line}"
                );
                format!(
                    "{} {} {} {}",
                    line["cluster_id"], line["node_id"], line["switch_id"], line["outcome"]
                )
            })
            .collect();
        names.sort();
        names
    });
    assert_eq!(here, there);
}

#[test]
fn a_deadline_ends_it_early_here_and_there() {
    let app = TestApp::start(
        "[lookup]\nscript = [\"hang\"]\ntimeout = \"1h\"\n[collect]\ndeadline = \"1h\"\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\n",
    );
    for output in both(&app, &["--deadline", "300ms"]) {
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(
            stdout(&output).contains("deadline of 300ms"),
            "{}",
            stdout(&output)
        );
    }
    for (value, expected) in [
        ("0s", "at least \"1ms\""),
        ("5", "a number and its unit"),
        ("2days", "at most"),
    ] {
        let output = run(fleetcall().args(["collect", "--deadline", value]));
        assert_eq!(output.status.code(), Some(2), "{value}");
        assert!(
            stderr(&output).contains(expected),
            "{value}: {}",
            stderr(&output)
        );
    }
    let output = run(fleetcall().args(["collect", "--cluster", "web["]));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("without its ']'"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn nothing_that_a_server_says_steers_the_terminal() {
    let steers = |text: &str| {
        let is_bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        text.contains(is_bad)
    };
    // JSON lets these stand in strings as they are, and blanks between its parts.
    let hostile = "{\r\n\t\"time\":\"\u{9b}2J\u{202e}x\u{7f}\"}";
    let escape = "\u{1b}[2J\u{9b}2J\u{202e}no JSON";
    let problem = r#"{"detail":"no \u001b[2J\u202e"}"#;
    for command in [
        &["tree"][..],
        &["tree", "--all"],
        &["tree", "--format", "json"],
        &["workers"],
        &["workers", "--format", "json"],
        &["reset", "1"],
        &["collect"],
        &["collect", "--format", "csv"],
    ] {
        for (status, kind, body) in [
            ("200 OK", "application/json", hostile),
            ("200 OK", "application/json", escape),
            ("200 OK", "application/x-ndjson", escape),
            ("403 \u{9b}2J", "application/problem+json", problem),
            ("404 Not Found", "text/plain", escape),
        ] {
            let service = Service::start(said(status, kind, body), said(status, kind, body));
            let mut asking = fleetcall();
            let output = run(asking.args(command).args(["--server", &service.url()]));
            let (out, err) = (stdout(&output), stderr(&output));
            assert!(
                !steers(&out) && !steers(&err),
                "{command:?} {body:?}: {out:?} {err:?}"
            );
            if command.contains(&"json") && body == hostile {
                assert_eq!(output.status.code(), Some(0), "{err}");
                let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
                assert_eq!(value(&out), value(hostile), "it says the same");
            } else {
                assert_ne!(output.status.code(), Some(0), "{command:?} {body:?}");
                assert_eq!(err.lines().count(), 1, "{command:?}: {err:?}");
            }
        }
    }
}

#[test]
fn a_proxy_is_for_services_of_other_machines_alone() {
    let refused = || said("403 Forbidden", "text/plain", "");
    let proxy = Service::start(refused(), refused());
    let tree_of = |server: &str| {
        let mut asking = fleetcall();
        asking
            .env("HTTP_PROXY", proxy.url())
            .env("http_proxy", proxy.url());
        asking.env_remove("NO_PROXY").env_remove("no_proxy");
        run(asking.args(["tree", "--server", server]))
    };
    let service = three();
    tree_of(&service.url());
    tree_of(&service.url().replace("127.0.0.1", "localhost"));
    assert_eq!(service.asked().len(), 2);
    assert_eq!(proxy.asked(), [""; 0]);
    let line = stderr(&tree_of("http://192.0.2.1:11100"));
    assert!(line.contains("its status is 403 Forbidden"), "{line}");
    assert_eq!(proxy.asked().len(), 1);
}
