//! What the service does not start with.

use crate::guarded::{FLEET, READ};
use crate::harness::{TestApp, config_file, fleetcall, run, stderr};

/// What `serve` and `check` say with these arguments; both have to say the same.
fn refused(config: &str, arguments: &[&str], token: &str) -> String {
    let (_dir, path) = config_file(config);
    let said = ["serve", "check"].map(|command| {
        let output = run(fleetcall()
            .env("TOKEN", token)
            .env("FLEETCALL_PORT", "0")
            .args([command, "--config"])
            .arg(&path)
            .args(arguments));
        assert_eq!(
            output.status.code(),
            Some(78),
            "{command}: {}",
            stderr(&output)
        );
        stderr(&output)
    });
    let faults = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('['));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(faults(&said[0]), faults(&said[1]));
    said[1].clone()
}

fn with_token(token: &str) -> String {
    format!("[http]\ntokens = [{{ name = \"a\", role = \"read\", token = {token} }}]\n{FLEET}")
}

#[test]
fn a_service_that_all_can_reach_needs_tokens_or_a_word_for_it() {
    for bind in ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"] {
        let said = refused(FLEET, &["--bind", bind], "");
        assert!(
            said.contains("http.tokens: there is no token, and everybody who reaches"),
            "{said}"
        );
        assert!(said.contains(bind), "{said}");
        for way_out in ["tokens = [", "--bind", "--insecure"] {
            assert!(said.contains(way_out), "{said}");
        }
    }
    let app = TestApp::start_with(FLEET, &["--bind", "0.0.0.0", "--insecure"]);
    assert_eq!(app.get().status, 200);
    let warned = app.wait_for_log(|line| line["level"] == "warn");
    assert_eq!(warned["bind"], "0.0.0.0");
    let mut command = fleetcall();
    command.env("FLEETCALL_INSECURE", "true");
    let (dir, path) = config_file(FLEET);
    let app = TestApp::start_as(command, dir, path, &["--bind", "0.0.0.0"]);
    assert_eq!(app.get().status, 200);
    for bind in ["127.0.0.1", "127.0.0.2"] {
        assert_eq!(
            TestApp::start_with(FLEET, &["--bind", bind]).get().status,
            200
        );
    }
}

#[test]
fn tokens_in_the_clear_are_warned_of() {
    let mut command = fleetcall();
    command.env("TOKEN", READ);
    let (dir, path) = config_file(&with_token("{ env = \"TOKEN\" }"));
    let app = TestApp::start_as(command, dir, path, &["--bind", "0.0.0.0"]);
    let warned = app.wait_for_log(|line| line["level"] == "warn");
    let message = warned["message"].as_str().unwrap();
    assert!(message.contains("in the clear"), "{message}");
    assert_eq!(app.get().status, 401);
}

#[test]
fn a_token_that_is_missing_or_weak_ends_the_start() {
    for (source, token, why) in [
        ("{ env = \"NOT_SET\" }", "", "variable NOT_SET is not set"),
        (
            "{ file = \"/no/such/file\" }",
            "",
            "/no/such/file: No such file",
        ),
        (
            "{ systemd_credential = \"a\" }",
            "",
            "no credential a: systemd has set no",
        ),
        ("{ env = \"TOKEN\" }", "", "less than 16 characters"),
        (
            "{ env = \"TOKEN\" }",
            "hunter2-hunter2",
            "less than 16 characters",
        ),
        (
            "{ env = \"TOKEN\" }",
            "hunter2 hunter2 hunter2",
            "characters other than letters",
        ),
    ] {
        let said = refused(&with_token(source), &[], token);
        assert!(said.contains(":2:48: http.tokens[0].token: "), "{said}");
        assert!(said.contains(why), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let said = refused(&with_token("\"hunter2-hunter2-hunter2\""), &[], "");
    assert!(said.contains("a secret in the file itself"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn all_faults_of_http_are_said_at_once() {
    let said = refused(
        &format!(
            "[http]\norigins = [\"https://ops.example/\", \"*\"]\nrate = {{ burst = 0 }}\n\
             max_connections = 0\nrequest_timeout = \"1h\"\nstale_tokens = \"2d\"\ncolour = 1\nnames = [\"*.example\", \"a:80\"]\nproxies = [\"proxy.example\", \"10.0.0.0/40\"]\n\
             tokens = [{{ name = \"a b\", role = \"king\" }}, {{ role = \"read\", token = {{ env = \"A\" }} }}]\n\
             tls = {{ certificate = \"x\" }}\n{FLEET}"
        ),
        &[],
        "",
    );
    for key in [
        "http.origins[0]: \"https://ops.example/\" is no origin",
        "http.origins[1]: \"*\" is no origin",
        "http.names[0]: \"*.example\" is no host name",
        "http.names[1]: \"a:80\" is no host name",
        "http.proxies[0]: \"proxy.example\" is no address and no network",
        "http.proxies[1]: \"10.0.0.0/40\" is no address",
        "http.rate: there is no `per_second`",
        "http.max_connections: out of range",
        "http.request_timeout: too long",
        "http.stale_tokens: \"2d\" is too long",
        "http.colour: unknown key",
        "http.tokens[0].name: \"a b\" cannot be",
        "http.tokens[0].role: \"king\" is no role",
        "http.tokens[0]: there is no `token`",
        "http.tokens[1]: there is no `name`",
        "http.tls: there is no `key`",
    ] {
        assert!(said.contains(key), "{key}\n{said}");
    }
}

#[test]
fn a_token_that_everybody_here_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::TempDir::new().unwrap();
    crate::guarded::write_tokens(dir.path());
    let config = dir.path().join("clusters.toml");
    let text = crate::guarded::http(dir.path(), "") + crate::guarded::FLEET;
    std::fs::write(&config, text).unwrap();
    let file = crate::guarded::token_file(dir.path(), "collect");
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in ["read", "admin"] {
        set(&crate::guarded::token_file(dir.path(), name), 0o640);
    }
    for (of_folder, of_file, is_warned_of) in [
        (0o755, 0o644, true),
        (0o755, 0o640, false),
        // Nobody gets to it.
        (0o700, 0o644, false),
    ] {
        set(dir.path(), of_folder);
        set(&file, of_file);
        let mut command = crate::harness::fleetcall();
        command
            .args(["check", "--log-format", "json", "--config"])
            .arg(&config);
        let output = crate::harness::run(&mut command);
        assert_eq!(output.status.code(), Some(0));
        let log = crate::harness::stderr(&output);
        let warned: Vec<serde_json::Value> = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let keys: Vec<_> = warned.iter().map(|line| line["key"].clone()).collect();
        let expected: &[&str] = if is_warned_of {
            &["http.tokens[1].token"]
        } else {
            &[]
        };
        assert_eq!(keys, expected, "{of_folder:o} {of_file:o}: {log}");
    }
}

#[test]
fn every_other_file_of_a_secret_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::TempDir::new().unwrap();
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(dir.path(), 0o755);
    let file = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, "s3cret-s3cret-s3cret").unwrap();
        path
    };
    let names = [
        "community",
        "env",
        "list",
        "ssh",
        "nats.password",
        "nats.key",
    ];
    let files = names.map(file);
    let [community, env, list, ssh, nats, nats_key] = &files;
    let certificate = file("nats.crt");
    let config = dir.path().join("clusters.toml");
    let text = |inline: &str| {
        format!(
            "{inline}[[clusters]]\nid = 1\nlookup = {{ driver = \"snmp\", address = \"127.0.0.1:1\", \
             community = {{ file = {community:?} }} }}\n\
             nodes = [{{ ids = \"1\", lookup = {{ driver = \"exec\", command = [\"/bin/true\"], env = {{ A \
             = {{ file = {env:?} }} }} }} }}]\nswitches = \"1\"\n\
             [[clusters]]\nid = 2\nlookup = {{ driver = \"ssh\", address = \"127.0.0.1:1\", username = \"u\", key \
             = {ssh:?}, known_hosts = \"/none\", remote_command = \"true\" }}\n\
             nodes = {{ url = \"http://127.0.0.1:1/\", username = \"u\", password = {{ file = {list:?} }} }}\n"
        )
    };
    let inline = "allow_inline_secrets = true\n[http]\ntokens = [{ name = \"a\", role = \"read\", token = \
                  \"0123456789abcdef\" }]\n";
    let check = || {
        let mut command = fleetcall();
        command
            .args([
                "check",
                "--log-format",
                "json",
                "--nats",
                "tls://127.0.0.1:1",
            ])
            .args(["--nats-user", "u", "--nats-password-file"])
            .arg(nats)
            .arg("--nats-cert")
            .arg(&certificate)
            .arg("--nats-key")
            .arg(nats_key)
            .arg("--config")
            .arg(&config);
        let output = run(&mut command);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let said = stderr(&output);
        let warned = said
            .lines()
            .filter(|line| line.contains("everybody on this machine can read"));
        let warned: Vec<String> = warned.map(str::to_owned).collect();
        warned
    };
    std::fs::write(&config, text(inline)).unwrap();
    for path in files.iter().chain([&certificate, &config]) {
        set(path, 0o644);
    }
    let warned = check();
    assert_eq!(warned.len(), files.len() + 1, "{warned:#?}");
    for (path, key) in files.iter().chain([&config]).zip([
        "clusters[0]",
        "clusters[0]",
        "clusters[1].nodes",
        "clusters[1]",
        "",
        "",
        "allow_inline_secrets",
    ]) {
        let path = path.display().to_string();
        let is_it = |line: &&String| line.contains(&path) && line.contains(key);
        assert_eq!(
            warned.iter().filter(is_it).count(),
            1,
            "{path}: {warned:#?}"
        );
    }
    // The configuration alone holds no secret without them, and a group is nobody in particular.
    std::fs::write(&config, text("")).unwrap();
    for path in &files {
        set(path, 0o640);
    }
    assert_eq!(check(), Vec::<String>::new());
}

#[test]
fn one_that_a_reload_brings_is_warned_of_once() {
    use std::os::unix::fs::PermissionsExt as _;

    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let service = crate::guarded::Guarded::start();
    for name in ["read", "collect", "admin"] {
        set(&crate::guarded::token_file(&service.dir, name), 0o640);
    }
    let new = crate::guarded::token_file(&service.dir, "new");
    std::fs::write(&new, "n3w-0123456789abcdef").unwrap();
    set(&new, 0o644);
    set(&service.dir, 0o755);
    let token =
        format!("\n{{ name = \"new\", role = \"read\", token = {{ file = {new:?} }} }},\n]\n");
    let text = crate::guarded::http(&service.dir, "").replacen("\n]\n", &token, 1);
    std::fs::write(&service.app.config, text + FLEET).unwrap();
    for _ in 0..2 {
        let status = service.status("POST", "/v1/reload", crate::guarded::ADMIN);
        assert_eq!(status, 200);
    }
    // What follows both reloads in the log.
    service.app.signal("TERM");
    let app = &service.app;
    app.wait_for_log(|line| line["message"] == "stopping");
    let log = app.log();
    let warned = log.iter().filter(|line| {
        let message = line["message"].as_str().unwrap_or_default();
        message.starts_with("everybody on this machine can read this secret")
    });
    // The others are perhaps warned of at the start, as this machine makes folders.
    let new = warned.filter(|line| line["key"] == "http.tokens[3].token");
    assert_eq!(new.count(), 1);
}
