//! Every fault of a configuration: found with all others, placed, and with what would be right.

use crate::harness::{TestApp, config_file, fleetcall, run, stderr};

/// What `check` says of this text, a fault a line, without the file's name.
fn faults(text: &str) -> Vec<String> {
    let (_dir, path) = config_file(text);
    let output = run(fleetcall().args(["check", "--config"]).arg(&path));
    let name = format!("{}:", path.display());
    if output.status.code() == Some(0) {
        return Vec::new();
    }
    assert_eq!(output.status.code(), Some(78), "{text}");
    let strip = |line: &str| {
        line.strip_prefix(&name)
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned()
    };
    stderr(&output).lines().map(strip).collect()
}

const CLUSTER: &str = "[[clusters]]\nid = 1\nnodes = \"1\"\n";

/// Asserts that `text`, in front of a valid cluster, has one fault that contains `expected`.
#[track_caller]
fn one_fault(text: &str, expected: &str) {
    let found = faults(&format!("{text}\n{CLUSTER}"));
    assert!(
        found.len() == 1 && found[0].contains(expected),
        "{text}\n{expected}\n{found:#?}"
    );
}

/// As [`one_fault`], with `text` as the whole file.
#[track_caller]
fn only_fault(text: &str, expected: &str) {
    let found = faults(text);
    assert!(
        found.len() == 1 && found[0].contains(expected),
        "{text}\n{expected}\n{found:#?}"
    );
}

#[test]
fn all_faults_are_reported_at_once_in_the_order_of_the_file() {
    let text = r#"colour = "red"
[lookup]
driver = "telnet"
timeout = 3
latency = "5 parsecs"
jitter = "0s"
faults = { fail = 1.5, crash = 0.1 }
[collect]
deadline = "0s"
max_concurrent = 0
[supervision]
backoff = { min = "2s", max = "1s" }
intensity = -1
[[clusters]]
id = 1
nodes = "1-4,3"
[[clusters]]
id = "1"
nodes = ["web[1-", true]
switches = "x y"
[[clusters]]
switches = [-1]
"#;
    let expected = [
        "1:1: colour: unknown key; known here are `lookup`, `collect`, `supervision`, `dns`, `http`, `clusters`",
        "3:10: lookup.driver: there is no driver \"telnet\"; this build has \"simulated\", \"tcp\"",
        "4:11: lookup.timeout: this is an integer; write a duration as a string with its unit",
        "5:11: lookup.latency: cannot read \"5 parsecs\" as a duration; write a number and its unit",
        "7:19: lookup.faults.fail: out of range; write a number from 0 to 1",
        "7:24: lookup.faults.crash: unknown key; known here are `fail`, `hang`, `panic`",
        "9:12: collect.deadline: \"0s\" is too short; write at least \"1ms\"",
        "10:18: collect.max_concurrent: out of range; write an integer from 1 to 4294967295",
        "12:11: supervision.backoff: `max` (1s) is shorter than `min` (2s)",
        "13:13: supervision.intensity: out of range; write an integer from 0 to 1000",
        "16:9: clusters[0].nodes: node 3 stands in this cluster already; list each once",
        "18:6: clusters[1].id: the id 1 is that of clusters[0] already; ids are unique",
        "19:10: clusters[1].nodes[0]: \"web[1-\" is no node set: a '[' without its ']'",
        "19:20: clusters[1].nodes[1]: this is a boolean; write an integer or a node set",
        "20:12: clusters[1].switches: \"x y\" is no node set: ' ' cannot stand in an id: use letters, digits",
        "21:1: clusters[2]: the cluster has no `id`; write an integer or a name, such as id = 1",
        "22:13: clusters[2].switches[0]: out of range; write an integer from 0 or a name",
    ];
    let found = faults(text);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "\n{found}\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn an_empty_topology_is_refused() {
    only_fault(
        "",
        " there is no cluster; write at least one [[clusters]] section",
    );
    only_fault("clusters = []", " there is no cluster");
    only_fault(
        "[[clusters]]\nid = 1",
        "1:1: clusters[0]: the cluster has no devices",
    );
    only_fault(
        "[[clusters]]\nid = 1\nnodes = []",
        "the cluster has no devices",
    );
    only_fault(
        "[[clusters]]\nid = 1\nnodes = \"n[1-4]!n[1-4]\"",
        "3:9: clusters[0].nodes: \"n[1-4]!n[1-4]\" takes away all that it holds; leave at least one id",
    );
    only_fault(
        "[[clusters]]\nid = 1\nnodes = [\"n[1-4]\", \"!n2\"]",
        "\"!n2\" is no node set: nothing in front of a '!'; write what it is taken away from there, in \
         the same text",
    );
    only_fault(
        "[clusters]\nid = 1",
        "1:1: clusters: this is a table; write each cluster as",
    );
    only_fault(
        "[[clusters]]\nid = 1\nnodes = [{ ids = [] }]",
        "the cluster has no devices",
    );
}

#[test]
fn duplicates_are_refused() {
    only_fault(
        &format!("{CLUSTER}{CLUSTER}"),
        "5:6: clusters[1].id: the id 1 is that of clusters[0]",
    );
    only_fault(
        "[[clusters]]\nid = 1\nnodes = [\"1-10\", \"5-20\"]",
        "3:18: clusters[0].nodes[1]: node 5 stands in this cluster already, and 5 more of this set",
    );
    only_fault(
        "[[clusters]]\nid = 1\nswitches = [1, \"1\"]",
        "switch 1 stands in this cluster",
    );
    let apart = "[[clusters]]\nid = 1\nnodes = \"1\"\nswitches = \"1\"\n[[clusters]]\nid = 2\nnodes = \"1\"";
    assert_eq!(
        faults(apart),
        [""; 0],
        "a node and a switch may share an id, and so may clusters"
    );
}

#[test]
fn a_set_past_a_million_devices_is_refused_without_expanding_it() {
    let one = |set: &str| format!("[[clusters]]\nid = 1\nnodes = \"{set}\"");
    only_fault(
        &one("n[1-1000001]"),
        "3:9: clusters[0].nodes: \"n[1-1000001]\" holds 1000001 ids",
    );
    let wide = "0".repeat(70_000);
    only_fault(
        &one(&format!("n[{wide}1-{wide}4]")),
        "a number of 70001 digits, zeros included; an id has at most 253 characters",
    );
    only_fault(
        &one("n[1-99999999999][1-99999999999]"),
        "holds 18446744073709551615 ids; at most 1000000",
    );
    only_fault(
        "[[clusters]]\nid = 1\nnodes = \"1-600000\"\nswitches = \"1-600000\"",
        "1:1: clusters[0]: with this cluster there are 1200000 devices; at most 1000000 are possible",
    );
    assert_eq!(faults(&one("1-1000000")), [""; 0]);
}

#[test]
fn files_that_are_no_configuration_are_one_clear_line() {
    let (dir, _) = config_file("");
    let check = |path: &std::path::Path| {
        let output = run(fleetcall().args(["check", "--config"]).arg(path));
        assert_eq!(output.status.code(), Some(78), "{}", path.display());
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        stderr(&output)
    };
    let cannot = "cannot read the file: it is a directory, not a regular file";
    let expected = format!("{}: {cannot}\n", dir.path().display());
    assert_eq!(check(dir.path()), expected);
    let missing = dir.path().join("missing.toml");
    assert!(check(&missing).contains("cannot read the file: No such file or directory"));
    let binary = dir.path().join("binary");
    std::fs::write(&binary, b"# fine\n\x7fELF\xff\xfe\x00").unwrap();
    assert!(check(&binary).contains("line 2 is not UTF-8 text; a configuration is a TOML file"));
    let own = check(std::path::Path::new(env!("CARGO_BIN_EXE_fleetcall")));
    assert!(
        own.contains("is not UTF-8 text") || own.contains("larger than 64 MiB"),
        "{own}"
    );
    let device = check(std::path::Path::new("/dev/zero"));
    assert!(
        device.contains("it is a device, not a regular file"),
        "{device}"
    );
}

#[test]
fn text_that_is_no_toml_says_where_and_the_rest_is_checked_all_the_same() {
    let text = "[[clusters]]\nid = 1\nnodes = \"4-1\"\n[[clusters]]\nid = 2\nid = 3\n\
                [lookup]\nlatency = 3s\ntimeout = \"3\"\n[collect\ndeadline = \"1s\"\n";
    let expected = [
        "3:9: clusters[0].nodes: \"4-1\" is no node set",
        "6:1: duplicate key \"id\"; write it once in this table",
        "8:11: string values must be quoted",
        "9:11: lookup.timeout: cannot read \"3\" as a duration",
        "10:9: unclosed table, expected `]`",
    ];
    let found = faults(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn lookup_settings_say_what_would_be_right() {
    one_fault(
        "lookup = 1",
        "1:10: lookup: this is an integer; write a table with the keys `driver`",
    );
    one_fault(
        "[lookup]\ndriver = 1",
        "lookup.driver: this is an integer; this build has \"simulated\", \"tcp\"",
    );
    one_fault(
        "[lookup]\ntimeout = \"0ms\"",
        "2:11: lookup.timeout: \"0ms\" is too short",
    );
    one_fault(
        "[lookup]\nlatency = \"25h\"",
        "lookup.latency: \"25h\" is too long; write at most \"24h\"",
    );
    one_fault("[lookup]\nlatency = \"\"", "cannot read \"\" as a duration");
    one_fault(
        "[lookup]\nseed = -1",
        "lookup.seed: out of range; write an integer from 0 to",
    );
    one_fault(
        "[lookup]\nseed = 1.5",
        "lookup.seed: this is a float; write an integer",
    );
    one_fault(
        "[lookup]\nscript = []",
        "lookup.script: the script is empty; write an array of \"ok\"",
    );
    one_fault(
        "[lookup]\nscript = \"ok\"",
        "lookup.script: this is a string; write an array of \"ok\"",
    );
    one_fault(
        "[lookup]\nscript = [\"ok\", \"sleep\"]",
        "2:17: lookup.script[1]: \"sleep\" is no step",
    );
    one_fault(
        "[lookup]\nfaults = { fail = nan }",
        "lookup.faults.fail: out of range",
    );
    one_fault(
        "[lookup]\nfaults = { hang = \"1\" }",
        "lookup.faults.hang: this is a string; write a number",
    );
    one_fault(
        "[lookup]\nfaults = { hang = 0.5, panic = 0.6 }",
        "together they can be at most 1",
    );
    one_fault(
        "[lookup]\nfaults = { hang = 0.5 }\nscript = [\"ok\"]",
        "3:10: lookup.script: `script` and `faults` exclude each other; write one of them",
    );
    one_fault(
        "[lookup]\nadress = \"x\"",
        "2:1: lookup.adress: unknown key; known here are `driver`",
    );
    // Those that the driver has, written here or further out; a near one of another driver is a hint.
    one_fault(
        "[lookup]\nlatncy = \"1s\"",
        "lookup.latncy: unknown key; known here are `driver`, `timeout`, `retries`, `retry_backoff`, \
         `breaker`, `latency`, `jitter`, `seed`, `faults`, `script`; did you mean \"latency\"?",
    );
    one_fault(
        "[lookup]\ncomunity = \"x\"",
        "`breaker`, `latency`, `jitter`, `seed`, `faults`, `script`; did you mean \"community\"?",
    );
    one_fault(
        "[lookup]\ndriver = \"tcp\"\naddress = \"{id}:1\"\nadress = \"x\"",
        "lookup.adress: unknown key; known here are `driver`, `timeout`, `retries`, `retry_backoff`, \
         `breaker`, `address`, `tls`; did you mean \"address\"?",
    );
    one_fault(
        "[lookup]\ndriver = \"tcp\"\naddress = \"{id}:1\"\n[[clusters]]\nid = 9\nnodes = \"1\"\nlookup = { \
         adress = \"x\" }",
        "clusters[0].lookup.adress: unknown key; known here are `driver`, `timeout`, `retries`, \
         `retry_backoff`, `breaker`, `address`, `tls`; did you mean \"address\"?",
    );
}

#[test]
fn retry_and_breaker_settings_say_what_would_be_right() {
    one_fault(
        "[lookup]\nretries = -1",
        "2:11: lookup.retries: out of range; write an integer from 0 to 1000",
    );
    one_fault(
        "[lookup]\nretry_backoff = \"1s\"",
        "lookup.retry_backoff: this is a string; write a table with the keys `min`, `max`",
    );
    one_fault(
        "[lookup]\nretry_backoff = { min = \"3s\", max = \"2s\" }",
        "2:17: lookup.retry_backoff: `max` (2s) is shorter than `min` (3s)",
    );
    one_fault(
        "[lookup]\nbreaker = { failures = \"many\" }",
        "lookup.breaker.failures: this is a string; write an integer from 0 to 1000000",
    );
    one_fault(
        "[lookup]\nbreaker = { open = { min = 30 } }",
        "lookup.breaker.open.min: this is an integer; write a duration as a string",
    );
    one_fault(
        "[lookup]\nbreaker = { close = 1 }",
        "lookup.breaker.close: unknown key; known here are `failures`, `open`",
    );
    one_fault(
        "[collect]\nevery = \"0s\"",
        "2:9: collect.every: \"0s\" is too short; write at least \"1ms\"",
    );
    only_fault(
        "[lookup]\nbreaker = { open = { min = \"20m\", max = \"30m\" } }\n[[clusters]]\nid = 1\n\
         nodes = \"1\"\nlookup = { breaker = { open = { max = \"1m\" } } }",
        "6:31: clusters[0].lookup.breaker.open: `max` (1m) is shorter than `min` (20m), inherited \
         values included",
    );
}

#[test]
fn many_faults_are_placed_in_the_time_of_one_pass() {
    let ids = "1, ".repeat(100_000);
    let found = faults(&format!("[[clusters]]\nid = 1\nnodes = [{ids}]\n"));
    assert_eq!(found.len(), 99_999);
    assert!(
        found[99_998].starts_with("3:300007: clusters[0].nodes[99999]: "),
        "{}",
        found[99_998]
    );
}

#[test]
fn driver_settings_say_what_would_be_right() {
    let lookup = |lines: &str, expected| one_fault(&format!("[lookup]\n{lines}"), expected);
    lookup(
        "driver = \"tcp\"",
        "5:9: clusters[0].nodes: the driver \"tcp\" needs an `address`, such as",
    );
    lookup(
        "driver = \"prometheus\"",
        "clusters[0].nodes: the driver \"prometheus\" needs a `url`, such as \"http://{id}.",
    );
    lookup(
        "driver = \"exec\"",
        "the driver \"exec\" needs a `command`, such as [",
    );
    lookup(
        "driver = \"tcp\"\naddress = \"a:1\"\nlatency = \"3s\"",
        "4:11: lookup.latency: the driver \"tcp\" has no such setting; it has `driver`, `timeout`,",
    );
    lookup(
        "address = \"{host}:22\"",
        "lookup.address: {host} stands for nothing; write {id}, {cluster} or {port}, or",
    );
    lookup(
        "address = \"a:{id\"",
        "lookup.address: a brace without the other one",
    );
    for bad in ["a", "a:", "a:0", ":22", "a:65536"] {
        lookup(
            &format!("address = {bad:?}"),
            "is no address; write host:port, such as",
        );
    }
    for bad in [
        "ftp://a/",
        "http://",
        "https:///x",
        "http://a b/",
        "http://a:99999/",
        "http://a:x/",
        "http://:80/",
        "HTTPS://root:hunter2@a/",
    ] {
        lookup(
            &format!("url = {bad:?}"),
            "this is no such URL; write an http:// or https:// URL",
        );
    }
    lookup(
        "url = \"http://root:hunter2@a/\"",
        "2:7: lookup.url: user information in a URL; write `username` and `password` instead",
    );
    lookup(
        "tls = 1",
        "lookup.tls: this is an integer; write true, false, or a table",
    );
    lookup(
        "tls = { ca = \"/no/such/file\" }",
        "\"/no/such/file\": cannot read the file: No such file",
    );
    lookup(
        "tls = { ca = \"Cargo.toml\" }",
        "lookup.tls.ca: \"Cargo.toml\" holds no PEM certificate",
    );
    lookup(
        "expect_status = [99]",
        "lookup.expect_status[0]: out of range; write an integer from 100 to 599",
    );
    lookup(
        "expect_json = { status = 1 }",
        "\"status\" is no JSON pointer (RFC 6901); write one such as",
    );
    lookup(
        "facts = { a = \"b\" }",
        "lookup.facts: \"b\" is no JSON pointer",
    );
    lookup(
        "metrics = [\"a{b}\"]",
        "lookup.metrics[0]: \"a{b}\" is no metric's name",
    );
    lookup(
        "headers = { \"a b\" = \"c\" }",
        "\"a b\" cannot be such a name; write a table of headers",
    );
    lookup(
        "command = []",
        "lookup.command: the command is empty; write an array of the program",
    );
    lookup(
        "command = [\"a\", 1]",
        "lookup.command[1]: this is an integer; write an array of the program",
    );
    lookup(
        "output = \"xml\"",
        "\"xml\" is no such output; write \"json\", \"key_value\" or \"nagios\"",
    );
    lookup(
        "max_output_bytes = 0",
        "lookup.max_output_bytes: out of range; write an integer from 1",
    );
    lookup(
        "password = { env = \"A\", file = \"B\" }",
        "lookup.password: one source is needed; write { env",
    );
    lookup(
        "password = { env = \"\" }",
        "lookup.password.env: this is empty; write a name or a path",
    );
    lookup(
        "password = { vault = \"A\" }",
        "lookup.password.vault: unknown key; known here are `env`,",
    );
    lookup(
        "password = 1",
        "lookup.password: this is an integer; write { env = \"NAME\" }",
    );
    lookup(
        "headers = { Authorization = \"Bearer hunter2\" }",
        "lookup.headers: \"Authorization\" looks like a secret, and stands in the file itself; write {",
    );
    lookup(
        "expect_status = [401]",
        "401 and 403 always mean that our credentials are not accepted",
    );
    lookup(
        "expect_headers = { \"a b\" = \"c\" }",
        "\"a b\" cannot be such a name",
    );
    lookup(
        "key = \"\"",
        "lookup.key: this can be no path here; write the path of a private key",
    );
    lookup(
        "driver = \"ssh\"\naddress = \"a:22\"",
        "the driver \"ssh\" also needs `username`, `key`, `host_key` or `known_hosts`, `remote_command`;",
    );
    lookup(
        "host_key = \"AAAA\"",
        "this is no host key; write its type and itself, as in a .pub file",
    );
    lookup("host_key = \"ssh-ed25519 %H\"", "this is no host key");
    lookup(
        "host_key = \"ssh-ed25519 AAAA\"\nknown_hosts = \"a\"",
        "`host_key` and `known_hosts` exclude each other; write one of them",
    );
    lookup(
        "driver = \"http\"\nurl = \"http://a/\"\nusername = \"root\"",
        "`username` and `password` belong together; write both",
    );
    lookup(
        "driver = \"http\"\nurl = \"http://a/\"\nusername = \"root\"\npassword = { env = \"A\" }\n\
         bearer_token = { env = \"B\" }",
        "`bearer_token` excludes `username` and `password`; write one of them",
    );
    one_fault(
        "allow_inline_secrets = 1",
        "1:24: allow_inline_secrets: this is an integer; write true or false",
    );
}

#[test]
fn a_secret_stands_in_no_fault() {
    let found = faults(
        "[lookup]\npassword = \"hunter2\"\nurl = \"ftp://root:hunter2@a/?token=hunter2\"\n[[clusters]]\nid = 1\nnodes = \"1\"\n",
    );
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(!found.concat().contains("hunter2"), "{found:#?}");
}

#[test]
fn cluster_settings_say_what_would_be_right() {
    let fault = |rest: &str, expected| only_fault(&format!("[[clusters]]\n{rest}"), expected);
    fault(
        "id = 1\nnode = \"1\"\nnodes = \"1\"",
        "3:1: clusters[0].node: unknown key; known here are `id`",
    );
    fault(
        "id = 1.5\nnodes = \"1\"",
        "2:6: clusters[0].id: this is a float; write an integer or a name",
    );
    fault(
        "id = \"\"\nnodes = \"1\"",
        "clusters[0].id: an id cannot be empty",
    );
    fault(
        "id = \"a b\"\nnodes = \"1\"",
        "' ' cannot stand in an id: use letters, digits, '.', '_' and '-'",
    );
    fault(
        "id = -1\nnodes = \"1\"",
        "clusters[0].id: out of range; write an integer from 0 or a name",
    );
    fault(
        "id = 1\nnodes = 5",
        "clusters[0].nodes: this is an integer; write a node set such as \"1-4\"",
    );
    fault(
        "id = 1\nnodes = \"4-1\"",
        "\"4-1\" is no node set: \"4-1\" counts down; write \"1-4\"",
    );
    fault(
        "id = 1\nnodes = \"1-\"",
        "\"1-\" is a range without both its numbers; write them, such as \"1-4\"",
    );
    fault("id = 1\nnodes = \"1-4-\"", "; did you mean \"1-4\"?");
    fault("id = 1\nnodes = \"1..4\"", "; did you mean \"1-4\"?");
    fault(
        "id = 1\nnodes = \"n[1-4]!n7\"",
        "\"n[1-4]!n7\": \"!n7\" takes nothing away",
    );
    fault(
        "id = 1\nnode = \"1\"\nnodes = \"1\"",
        "clusters[0].node: unknown key; known here are `id`, `lookup`, `nodes`, `switches`; did you mean \
         \"nodes\"?",
    );
    fault(
        "id = 1\nnodes = \"1\"\nlookup = { driver = \"snpm\" }",
        "; did you mean \"snmp\"?",
    );
    fault(
        "id = 1\nnodes = \"1\"\nlookup = { timeout = 3 }",
        "; did you mean \"3s\"?",
    );
    fault(
        "id = 1\nnodes = \"\"",
        "\"\" is no node set: nothing between two commas or at an end",
    );
    fault(
        "id = 1\n[[clusters.nodes]]\nids = \"1-2\"\n[[clusters.nodes]]\nlookup = {}",
        "5:1: clusters[0].nodes[1]: the group has no `ids`; write them",
    );
    fault(
        "id = 1\nnodes = [{ ids = \"1\", lookup = { latency = 1 } }]",
        "clusters[0].nodes[0].lookup.latency: this is an integer",
    );
}

#[test]
fn probabilities_count_with_those_inherited() {
    only_fault(
        "[lookup]\nfaults = { hang = 0.5 }\n[[clusters]]\nid = 1\nnodes = \"1\"\n\
         lookup = { faults = { panic = 0.6 } }",
        "6:10: clusters[0].lookup: the probabilities of `faults`, with those inherited, are fail = 0, \
         hang = 0.5 and panic = 0.6; together they can be at most 1",
    );
}

#[test]
fn settings_are_inherited_field_by_field() {
    // Each level sets one field; every device shows by its outcome which ones it got. Without latency
    // no machine is so slow that one that answers does so after its timeout.
    let app = TestApp::start(
        r#"
        [lookup]
        latency = "0s"
        timeout = "20ms"
        faults = { fail = 1.0 }
        [[clusters]]
        id = "inherits"
        nodes = "1"
        [[clusters]]
        id = "overrides"
        lookup = { faults = { fail = 0.0 } }
        [[clusters.nodes]]
        ids = ["1", 2]
        [[clusters.nodes]]
        ids = "a[1-2]"
        lookup = { latency = "1h" }
        [[clusters.switches]]
        ids = 7
        lookup = { script = ["fail", "ok"] }
        "#,
    );
    let expected = [
        "inherits/n1:failed",
        "overrides/n1",
        "overrides/n2",
        "overrides/na1:timed_out",
        "overrides/na2:timed_out",
        "overrides/s7:failed",
    ];
    assert_eq!(app.get().devices(), expected);
    assert_eq!(app.get().devices()[5], "overrides/s7");
}

#[test]
fn lists_of_devices_say_what_would_be_right() {
    for (list, expected) in [
        (
            "{}",
            "nodes: a list of devices comes from one of `file`, `url`, `dns_srv`",
        ),
        (
            "{ file = \"a.json\", url = \"http://x/\" }",
            "nodes: a list of devices comes from one of",
        ),
        (
            "{ file = \"a.yml\" }",
            "nodes.file: its name does not end in .json",
        ),
        (
            "{ file = \"*/a.json\" }",
            "nodes.file: only the file's name may be a pattern",
        ),
        (
            "{ file = \"[a.json\" }",
            "nodes.file: \"[a.json\" is no pattern",
        ),
        (
            "{ file = \"{id}.json\" }",
            "nodes.file: a list is of many devices, so only {cluster}",
        ),
        (
            "{ file = \"a.json\", timeout = \"1s\" }",
            "nodes.timeout: unknown key",
        ),
        (
            "{ file = \"a.json\", every = \"1ms\" }",
            "nodes.every: \"1ms\" is too short",
        ),
        (
            "{ file = \"a.json\", labels = { a = 1 } }",
            "nodes.labels.a: this is an integer",
        ),
        ("{ url = \"ftp://x/\" }", "nodes.url: this is no such URL"),
        (
            "{ url = \"http://{id}/\" }",
            "nodes.url: a list is of many devices",
        ),
        (
            "{ url = \"http://x/\", bearer_token = \"hunter2\" }",
            "nodes.bearer_token: a secret in the file itself",
        ),
        (
            "{ dns_srv = \"a..b\" }",
            "nodes.dns_srv: \"a..b\" is no name in DNS",
        ),
        (
            "{ dns_srv = \"_a._tcp.b\", labels = {} }",
            "nodes.labels: unknown key",
        ),
    ] {
        let text = format!("[[clusters]]\nid = 1\nnodes = {list}\n");
        only_fault(&text, &format!("clusters[0].{expected}"));
        assert!(faults(&text).iter().all(|it| !it.contains("hunter2")));
    }
    only_fault(
        "[lookup]\ndriver = \"tcp\"\naddress = \"{id}:{port}\"\n[[clusters]]\nid = 1\n\
         nodes = { file = \"none/*.json\" }\nswitches = [1, 2]\n",
        "7:13: clusters[0].switches[0]: {port} is the port that a device was discovered with",
    );
}

#[test]
fn a_key_in_quotes_is_shown_in_quotes_on_one_line() {
    let found = faults(&format!("\"a\\nb\\u001B[2J\" = 1\n\"\" = 2\n{CLUSTER}"));
    assert_eq!(found.len(), 2, "{found:#?}");
    let key = r#"1:1: "a\nb\u{1b}[2J": unknown key"#;
    assert!(found[0].starts_with(key), "{found:#?}");
    assert!(found[1].starts_with("2:1: \"\": unknown key"), "{found:#?}");
}

#[test]
fn dns_servers_are_addresses() {
    let text = format!(
        "[dns]\nservers = [\"dns.example\", 53, \"192.0.2.53:0\", \"0.0.0.0\"]\ntimeout = 5\nattempts = 0\n{CLUSTER}"
    );
    let found = faults(&text);
    let places: Vec<_> = found
        .iter()
        .map(|it| it.split(": ").take(2).collect::<Vec<_>>())
        .collect();
    let expected: [Vec<&str>; 3] = [
        vec!["2:27", "dns.servers[1]"],
        vec!["3:11", "dns.timeout"],
        vec!["4:12", "dns.attempts"],
    ];
    assert_eq!(places, expected, "{found:#?}");
    let text = text.replace("53, ", "");
    let found = faults(&text);
    for (fault, text) in found.iter().zip(["dns.example", "192.0.2.53:0", "0.0.0.0"]) {
        assert!(
            fault.contains(&format!("{text:?} is no address of a server; write")),
            "{fault}"
        );
    }
    assert_eq!(found.len(), 5, "{found:#?}");
    one_fault(
        "[dns]\nservers = []",
        "dns.servers: there is no server; write",
    );
    let many = ["\"192.0.2.1\""; 9].join(", ");
    one_fault(
        &format!("[dns]\nservers = [{many}]"),
        "too many servers; write at most 8",
    );
    one_fault(
        "[dns]\nserver = 1",
        "dns.server: unknown key; known here are `servers`",
    );
    let good = "[dns]\nservers = [\"192.0.2.53\", \"2001:db8::53\", \"[2001:db8::53]:5353\"]\ntimeout = \"2s\"\nattempts = 3\n";
    assert_eq!(faults(&format!("{good}{CLUSTER}")), Vec::<String>::new());
}

#[test]
fn what_metrics_show_is_read_and_checked() {
    one_fault(
        "[metrics]\nper_device = \"yes\"",
        "metrics.per_device: this is a string; write true or false, or leave it out",
    );
    one_fault(
        "[metrics]\nper_cluster = true",
        "metrics.per_cluster: unknown key; known here are `per_device`",
    );
    one_fault("metrics = true", "metrics: this is a boolean; write");
    let good = "[metrics]\nper_device = false\n";
    assert_eq!(faults(&format!("{good}{CLUSTER}")), Vec::<String>::new());
}
