//! What a filter may hold: all that a client writes there is looked for in the whole fleet.

use serde_json::json;

use crate::harness::TestApp;

const FLEET: &str = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"n[1-2000]\"\n";

fn list(parts: impl Iterator<Item = String>) -> String {
    let list = parts.collect::<Vec<_>>().join(",");
    list.replace('[', "%5B").replace(']', "%5D")
}

#[test]
fn a_filter_has_limits_that_its_refusal_names() {
    let app = TestApp::start(FLEET);
    for name in ["cluster", "device", "exclude"] {
        for (filter, why) in [
            (
                list((1..=1001).map(|it| it.to_string())),
                format!("`{name}` has 1001 different elements, at most 1000 are possible"),
            ),
            (
                list(std::iter::once("n[1-999999999]".to_owned())),
                format!("`{name}` stands for 999999999 ids, at most 1000000 are possible"),
            ),
            (
                list((0..65).map(|it| format!("r[1-2]n[{it}-99]"))),
                format!("`{name}` has more than 64 parts with several brackets"),
            ),
            (
                list((1..66).map(|it| format!("n[1-99/{it}]"))),
                format!("`{name}` has more than 64 kinds of ranges"),
            ),
        ] {
            for method in ["GET", "POST"] {
                let path = match method {
                    "GET" => "/v1/report",
                    _ => "/v1/collect",
                };
                let answer = app.request(method, &format!("{path}?{name}={filter}"), &[]);
                let problem = answer.json();
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains(&why), "{method} {name}: {detail}");
                assert_eq!(answer.status, 400, "{detail}");
            }
        }
    }
}

#[test]
fn what_is_written_again_and_again_is_one_element() {
    let app = TestApp::start(FLEET);
    let same = "n7,".repeat(1900) + "n7";
    let answer = app.request("GET", &format!("/v1/report?device={same}"), &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["summary"]["asked"], json!(1));
    let path = format!("/v1/report?device=n%5B1-9%5D&exclude={same}");
    let answer = app.request("GET", &path, &[]);
    assert_eq!(answer.json()["summary"]["asked"], json!(8));
}
