//! The live page of `maxwell up`, fetched byte by byte as a browser does. Never waits without a limit.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::time::Instant;

use model::import::Architecture;
use model::synthetic::SyntheticModel;
use serde_json::{Value, json};

use crate::program::Stage;
use crate::running::{Running, WAIT};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// As many event streams as there may be.
const VIEWERS_MAX: usize = 32;

/// A running `maxwell up` on a tiny model.
struct Up(Running);

impl Up {
    fn start(more: &[&str]) -> Self {
        let stage = Stage::new();
        let model = SyntheticModel { blocks: 6, context: 512, ..SyntheticModel::tiny(Architecture::Llama) };
        let model = stage.write("tiny.gguf", &model.gguf());
        let arguments = ["up", "--port", "0", "--eps", "1", "-m", &model];
        Self(Running::start(stage, &[&arguments[..], more].concat()))
    }

    fn ask(&self) {
        let body = json!({
            "model": "tiny", "messages": [{ "role": "user", "content": "Hi" }], "temperature": 0.8, "max_tokens": 8,
        });
        let (head, body) = self.0.post("/v1/chat/completions", &body);
        assert!(head.starts_with("http/1.1 200"), "{head} {body}");
    }

    fn events(&self) -> Events {
        let stream = self.0.send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n");
        let mut events = Events { lines: BufReader::new(stream), head: String::new() };
        loop {
            let line = events.line();
            if line.is_empty() {
                return events;
            }
            events.head.push_str(&format!("{}\r\n", line.to_lowercase()));
        }
    }
}

/// An open event stream.
struct Events {
    lines: BufReader<TcpStream>,
    head: String,
}

impl Events {
    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the stream ended");
        line.trim_end().to_owned()
    }

    fn next(&mut self) -> Value {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < WAIT, "nothing happens");
            if let Some(data) = self.line().strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    fn until(&mut self, what: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let event = self.next();
            if what(&event) {
                return event;
            }
            assert!(began.elapsed() < WAIT, "it does not come: {event}");
        }
    }
}

fn check_headers(head: &str, kind: &str) {
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let policy = format!("content-security-policy: {POLICY}");
    let kind = format!("content-type: {kind}");
    for line in [
        &policy,
        &kind,
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
    ] {
        assert!(head.lines().any(|header| header == line), "no {line:?} in {head}");
    }
}

/// Nothing that the policy would refuse, and every asset from here.
fn check_html(html: &str) {
    let html = html.to_lowercase();
    for inline in
        ["<style", " style=", " onload=", " onclick=", " onerror=", "javascript:", "://", "<base", "<form"]
    {
        assert!(!html.contains(inline), "{inline} in the page");
    }
    let mut scripts = html.split("<script").skip(1);
    assert!(scripts.all(|script| script.contains(" src=\"/assets/") && script.contains("\"></script>")));
    assert!(html.contains("<noscript>") && html.contains("aria-live="));
}

#[test]
fn the_page_shows_the_status_and_changes_with_it() {
    let up = Up::start(&[]);
    let (head, html) = up.0.get("/");
    check_headers(&head, "text/html; charset=utf-8");
    check_html(&html);
    for (path, kind) in [
        ("/assets/page.css", "text/css; charset=utf-8"),
        ("/assets/page.js", "text/javascript; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
    ] {
        assert!(html.contains(&format!("\"{path}\"")), "{path}");
        let (head, text) = up.0.get(path);
        check_headers(&head, kind);
        assert!(text.len() > 100 && !text.contains("innerHTML") && !text.contains("@import"), "{path}");
    }

    let mut events = up.events();
    check_headers(&events.head, "text/event-stream");
    let first = events.next();
    let commitment = first["status"]["commitment"].as_str().unwrap();
    assert_eq!(commitment.len(), 64);
    assert!(html.contains(&format!("title=\"{commitment}\"")), "the whole commitment is in the page");
    let status = &first["status"];
    assert_eq!(
        (&status["mode"], &status["requests"], &status["recent"]),
        (&"serving".into(), &0.into(), &json!([]))
    );

    up.ask();
    let changed = events.until(|event| event["status"]["pass"] == 1);
    let status = &changed["status"];
    assert_eq!(
        (&status["requests"], &status["answers"], &status["sampled"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert_eq!(
        (&status["recent"][0]["outcome"], &status["recent"][0]["position"]),
        (&"pass".into(), &Value::Null)
    );
    assert_eq!(changed["view"]["bound"], "≤ 99 %");
    let tag = status["recent"][0]["tag"].as_str().unwrap();
    assert!(up.0.get("/").1.contains(tag), "the page has the verdict without any script");
}

#[test]
fn event_streams_are_limited() {
    let up = Up::start(&[]);
    let open: Vec<Events> = (0..VIEWERS_MAX).map(|_| up.events()).collect();
    assert!(open.iter().all(|events| events.head.starts_with("http/1.1 200")));
    let (head, _) = up.0.get("/events");
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after:"), "{head}");
    assert!(up.0.get("/").0.starts_with("http/1.1 200"), "the page itself is still there");
    drop(open);
    let began = Instant::now();
    while up.events().head.starts_with("http/1.1 503") {
        assert!(began.elapsed() < WAIT, "the places are given back");
    }
}

#[test]
fn an_alarm_is_shown_until_the_page_is_closed() {
    let mut up = Up::start(&["--cheat", "tamper"]);
    let mut events = up.events();
    // The nonce is drawn: an answer may end before the token that is changed, and is then an honest one.
    let mut asked = 0;
    let killed = loop {
        assert!(asked < 20, "20 answers in a row that end at once");
        up.ask();
        asked += 1;
        let judged = events
            .until(|event| event["status"]["killed"] == "audit" || event["status"]["pass"] == json!(asked));
        if judged["status"]["killed"] == "audit" {
            break judged;
        }
    };
    assert_eq!(killed["status"]["alarm"]["reason"], "output_token");
    assert!(killed["status"]["recent"][0]["position"].as_u64() >= Some(2), "{killed}");
    let alarm = &killed["view"]["alarm"];
    assert_eq!(alarm["headline"], "ALARM: an answer is not what the model gives");
    let (_, html) = up.0.get("/");
    check_html(&html);
    assert!(html.contains("ALARM: an answer is not what the model gives") && html.contains("killed (audit)"));
    drop(events);
    assert_eq!(
        up.0.child.wait().unwrap().code(),
        Some(3),
        "it ends when nobody watches, and says what was found"
    );
}
