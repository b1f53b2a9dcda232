//! Requests that two parsers could read differently: each is refused, or is exactly one request with exactly the
//! tokens that it should have. Nothing of how a request is written may reach the server.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::sync::atomic::Ordering;

use gateway::panel::PanelPolicy;
use gateway::server_link::Command;
use gateway::state::Mode;
use serde_json::json;

use crate::client::{CHAT, COMPLETIONS, Client, post, post_with, text};
use crate::fake::{Gateway, Setup, ids, soon};

/// A request for "good".
const GOOD: &str = r#"{"model":"tiny","prompt":"good"}"#;
/// One for "evil", as it would be hidden behind another.
const EVIL: &str = "POST /v1/completions HTTP/1.1\r\nHost: gateway\r\nContent-Length: 32\r\n\r\n\
    {\"model\":\"tiny\",\"prompt\":\"evil\"}";

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// No request reaches the server, and the connection is closed.
    Refused,
    /// One request for "good" does.
    One,
}

fn with(lines: &str, body: &str) -> Vec<u8> {
    format!("POST {COMPLETIONS} HTTP/1.1\r\n{lines}\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// Requests whose length is in doubt.
fn lengths() -> Vec<(&'static str, Vec<u8>, Fate)> {
    let both = |te_first: bool, length: usize, body: &str| {
        let (length, encoding) = (format!("Content-Length: {length}\r\n"), "Transfer-Encoding: chunked\r\n");
        let lines = if te_first { [encoding, &length].concat() } else { [&length, encoding].concat() };
        with(&format!("Host: gateway\r\n{lines}"), body)
    };
    let (good, empty) = (chunked(GOOD), format!("0\r\n\r\n{EVIL}"));
    let followed = format!("{good}{EVIL}");
    let mut cases = vec![
        ("TE and CL, the same", both(true, good.len(), &good), Fate::One),
        ("CL and TE, the same", both(false, good.len(), &good), Fate::One),
        ("TE and a short CL, evil behind", both(true, 4, &followed), Fate::One),
        ("short CL and TE, evil behind", both(false, 4, &followed), Fate::One),
        ("CL of all and TE of nothing", both(false, empty.len(), &empty), Fate::Refused),
        ("TE of nothing and CL of all", both(true, empty.len(), &empty), Fate::Refused),
        (
            "the same CL twice",
            with("Host: g\r\nContent-Length: 32\r\nContent-Length: 32\r\n", GOOD),
            Fate::One,
        ),
    ];
    for lines in [
        "Content-Length: 32\r\nContent-Length: 33\r\n",
        "Content-Length: 0\r\nContent-Length: 32\r\n",
        "Content-Length: 32, 32\r\n",
        "Content-Length: +32\r\n",
        "Content-Length: 0x20\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: \r\n",
        "Content-Length: 32 32\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 32\r\n",
        "Content-Length\t: 32\r\n",
        "Content-Length\r\n",
        " Content-Length: 32\r\n",
        "Content-Length: 3\r\n 2\r\n",
        "X: a\r\n b\r\nContent-Length: 32\r\n",
        "X: a\r\n\tb\r\nContent-Length: 32\r\n",
        "X: a\rContent-Length: 32\r\n",
        "X: a\0b\r\nContent-Length: 32\r\n",
        "X\0: a\r\nContent-Length: 32\r\n",
        "X\u{e9}: a\r\nContent-Length: 32\r\n",
        "Content-Length: 32\0\r\n",
        ": a\r\nContent-Length: 32\r\n",
    ] {
        cases.push((lines, with(&format!("Host: gateway\r\n{lines}"), GOOD), Fate::Refused));
    }
    cases
}

/// Requests whose encoding is in doubt.
fn encodings() -> Vec<(&'static str, Vec<u8>, Fate)> {
    let good = chunked(GOOD);
    let encoded =
        |encoding: &str, body: &str| with(&format!("Host: g\r\nTransfer-Encoding: {encoding}\r\n"), body);
    let mut cases = vec![("chunked", encoded("chunked", &good), Fate::One)];
    for encoding in ["identity", "xchunked", "chunked, identity", "chunked;q=1", "\u{b}chunked", "gzip"] {
        cases.push((encoding, encoded(encoding, &good), Fate::Refused));
    }
    let old = format!("POST {COMPLETIONS} HTTP/1.0\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n{good}");
    cases.push(("chunked in HTTP/1.0", old.into_bytes(), Fate::Refused));
    for (name, size, fate) in [
        ("an extension", "20;name=value", Fate::One),
        ("a quoted extension", "20;name=\"a;b\"", Fate::One),
        ("an extension with a bare LF", "20;x\nFF", Fate::Refused),
        ("leading zeros", "00000020", Fate::One),
        ("a sign", "+20", Fate::Refused),
        ("a prefix", "0x20", Fate::Refused),
        ("more than 64 bits", "10000000000000020", Fate::Refused),
        ("no digits", ";x", Fate::Refused),
        ("a negative size", "-20", Fate::Refused),
    ] {
        cases.push((name, encoded("chunked", &format!("{size}\r\n{GOOD}\r\n0\r\n\r\n")), fate));
    }
    for (name, body) in [
        ("a chunk that is longer than it says", format!("1f\r\n{GOOD}\r\n0\r\n\r\n")),
        ("a chunk without its end", format!("20\r\n{GOOD}0\r\n\r\n")),
        ("a chunk that ends in LF", format!("20\r\n{GOOD}\n0\r\n\r\n")),
    ] {
        cases.push((name, encoded("chunked", &body), Fate::Refused));
    }
    cases
}

/// Requests that hide another, and lines that end oddly.
fn hidden() -> Vec<(&'static str, Vec<u8>, Fate)> {
    let behind = [GOOD, EVIL].concat();
    let trailer = format!("20\r\n{GOOD}\r\n0\r\nContent-Length: 99\r\nX: y\r\n\r\n");
    vec![
        ("evil in the body", post(COMPLETIONS, behind.as_bytes()), Fate::Refused),
        ("evil as a JSON field", post(COMPLETIONS, format!("{{\"{EVIL}\":1}}").as_bytes()), Fate::Refused),
        (
            "no body, evil behind",
            with("Host: g\r\nContent-Length: 0\r\nConnection: close\r\n", EVIL),
            Fate::Refused,
        ),
        ("evil behind the end", post_with(COMPLETIONS, "Connection: close\r\n", GOOD.as_bytes()), Fate::One),
        ("a trailer", with("Host: g\r\nTransfer-Encoding: chunked\r\n", &trailer), Fate::One),
        ("a header in the path", b"POST /v1/completions\r\nX: y HTTP/1.1\r\n\r\n".to_vec(), Fate::Refused),
        ("a tab in the path", b"POST\t/v1/completions HTTP/1.1\r\n\r\n".to_vec(), Fate::Refused),
        ("NUL in the path", b"POST /v1/completions\0 HTTP/1.1\r\n\r\n".to_vec(), Fate::Refused),
        ("no version", b"POST /v1/completions\r\n\r\n".to_vec(), Fate::Refused),
        ("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Fate::Refused),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), Fate::Refused),
    ]
}

async fn check_all(cases: Vec<(&'static str, Vec<u8>, Fate)>) {
    let gateway =
        Gateway::serving(Setup { recomputers: PanelPolicy::single(600_000, 1000), ..Setup::default() }).await;
    let served = tokio::spawn(gateway.server.answer_all("yes"));
    let requests = || gateway.service.counters.requests.load(Ordering::Relaxed);
    let mut expected = 0;
    for (name, bytes, fate) in cases {
        let mut client = Client::asking(gateway.address, &bytes).await;
        let response = client.maybe_response().await;
        // The connection's end: nothing of it is still being read.
        let rest = client.rest().await;
        let status = response.as_ref().map(|response| response.status);
        match fate {
            Fate::One => expected += 1,
            Fate::Refused => assert!(matches!(status, None | Some(400 | 404)), "{name}: {status:?}"),
        }
        assert_eq!(status == Some(200), fate == Fate::One, "{name}: {status:?}");
        assert_eq!(requests(), expected, "{name}: {}", String::from_utf8_lossy(&rest));
    }
    gateway.link.commands.send(Command::Drain).await.unwrap();
    assert_eq!(gateway.link.end().await, Mode::Off);
    let served = soon("the requests", served).await.unwrap();
    assert_eq!(served.len(), usize::try_from(expected).unwrap());
    assert!(served.iter().all(|request| request.prompt_ids == ids("good")));
}

#[tokio::test]
async fn doubtful_lengths() {
    check_all(lengths()).await;
}

#[tokio::test]
async fn doubtful_encodings() {
    check_all(encodings()).await;
}

#[tokio::test]
async fn hidden_requests() {
    check_all(hidden()).await;
}

#[tokio::test]
async fn lines_that_end_in_lf_are_one_request() {
    let request = format!("POST {COMPLETIONS} HTTP/1.1\nHost: gateway\nContent-Length: 32\n\n{GOOD}");
    check_all(vec![("bare LF", request.into_bytes(), Fate::One)]).await;
}

#[tokio::test]
async fn a_prompt_may_look_like_a_request() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let prompt = "\r\n0\r\n\r\nPOST /v1/completions HTTP/1.1\r\n\r\n{}\0";
    let mut client = Client::asking(gateway.address, &text(prompt, json!({}))).await;
    let request = gateway.server.generate().await;
    assert_eq!(request.prompt_ids, ids(prompt));
    gateway.server.answer(request.tag, "y").await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(gateway.service.counters.requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn two_requests_in_one_packet_are_two_in_order() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let both = [post(COMPLETIONS, GOOD.as_bytes()), EVIL.as_bytes().to_vec()].concat();
    let mut client = Client::asking(gateway.address, &both).await;
    for prompt in ["good", "evil"] {
        let request = gateway.server.generate().await;
        assert_eq!(request.prompt_ids, ids(prompt));
        gateway.server.answer(request.tag, prompt).await;
        assert_eq!(client.response().await.json()["choices"][0]["text"], json!(prompt));
    }
}

#[tokio::test]
async fn all_spellings_of_a_request_are_one() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let plain = r#"{"model":"tiny","messages":[{"role":"user","content":"Hi there"}],"max_tokens":9,"temperature":0.5,"seed":3}"#;
    let bodies = [
        plain,
        " { \"seed\" : 3 ,\r\n\t\"temperature\":5e-1, \"messages\":[ {\"content\":\"Hi there\",\"role\":\"user\"} ],\
         \"max_tokens\":9,\"model\":\"tiny\"}\n\n",
        r#"{"\u006dodel":"t\u0069ny","messages":[{"role":"user","content":"\u0048i there","name":"eve"}],"max_tokens":9,"temperature":0.50000,"seed":3}"#,
        r#"{"model":"tiny","messages":[{"role":"user","content":[{"type":"text","text":"Hi "},{"text":"there","type":"text"}]}],"max_completion_tokens":9,"temperature":0.5,"seed":3}"#,
        r#"{"model":"tiny","messages":[{"role":"user","content":"Hi there"}],"max_tokens":9,"temperature":0.50001,"seed":3,"user":"covert","n":1,"stop":"x","stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"model":"tiny","messages":[{"role":"user","content":"Hi there"}],"max_tokens":9,"temperature":0.5,"seed":3,"top_p":1,"top_k":0,"min_p":0.0,"repetition_penalty":1.0,"prompt":null,"stop":null,"stream":null,"stream_options":null}"#,
    ];
    let mut requests: Vec<Vec<u8>> = bodies.iter().map(|body| post(CHAT, body.as_bytes())).collect();
    requests.push(post_with(CHAT, "X-Covert: 1\r\nCookie: a=b\r\nuser-agent:   x  \r\n", plain.as_bytes()));
    let head = format!("POST {CHAT}?covert=1 HTTP/1.1\r\nhost:gateway\r\nTRANSFER-ENCODING: chunked\r\n\r\n");
    let (first, second) = plain.split_at(7);
    let chunks = format!("7;covert\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\n\r\n", second.len());
    requests.push([head, chunks].concat().into_bytes());
    let mut first = None;
    for request in requests {
        let mut client = Client::asking(gateway.address, &request).await;
        let mut generate = gateway.server.generate().await;
        gateway.server.answer(generate.tag, "y").await;
        assert_eq!(client.response().await.status, 200);
        let before = first.get_or_insert_with(|| generate.clone());
        (generate.tag, generate.nonce) = (before.tag, before.nonce);
        assert_eq!(&generate, before, "{}", String::from_utf8_lossy(&request));
    }
}
