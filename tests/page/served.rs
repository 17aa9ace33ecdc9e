//! How the page's files are served, without a browser.

use crate::harness::TestApp;

const ONE: &str = "[[clusters]]\nid = 1\nnodes = \"1\"\n";

#[test]
fn every_file_that_the_page_asks_for_is_there_and_strict() {
    let app = TestApp::start(ONE);
    let page = app.request("GET", "/", &[]);
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/server/page");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let content_type = match name.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            // The page itself, and the code that serves it.
            "html" | "rs" => continue,
            other => panic!("what is .{other}?"),
        };
        let file = app.request("GET", &format!("/assets/{name}"), &[]);
        assert_eq!(file.status, 200, "{name}");
        assert_eq!(file.header("content-type"), Some(content_type), "{name}");
        for answer in [&page, &file] {
            let policy = answer.header("content-security-policy").unwrap();
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self';"),
                "{policy}"
            );
            assert!(
                !policy.contains("unsafe") && !policy.contains("http"),
                "{policy}"
            );
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
        // Nothing is asked of anybody else; names of formats are no addresses.
        let text = file.body.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !text.contains("http://") && !text.contains("https://"),
            "{name}"
        );
        assert!(
            !text.contains("innerHTML") && !text.contains("eval("),
            "{name}"
        );
    }
    for inline in ["<script>", "<style", " style=", " onclick=", "http"] {
        assert!(!page.body.contains(inline), "{inline}");
    }
}

#[test]
fn files_that_a_browser_has_are_not_sent_again() {
    let app = TestApp::start(ONE);
    for path in ["/", "/assets/app.js"] {
        let etag = app
            .request("GET", path, &[])
            .header("etag")
            .unwrap()
            .to_owned();
        let again = app.request("GET", path, &[("If-None-Match", &etag)]);
        assert_eq!((again.status, again.body.as_str()), (304, ""));
        assert_eq!(
            app.request("GET", path, &[("If-None-Match", "\"x\"")])
                .status,
            200
        );
        let head = app.request("HEAD", path, &[]);
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.header("etag"), Some(etag.as_str()));
        let post = app.request("POST", path, &[]);
        assert_eq!(
            (post.status, post.header("allow")),
            (405, Some("GET, HEAD"))
        );
    }
    let unknown = app.request("GET", "/assets/x.js", &[]);
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.body, app.request("GET", "/x", &[]).body);
}
