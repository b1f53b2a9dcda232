//! Hidden channels, both ways: whatever a client puts around the fields that are read never reaches the server, and whatever
//! a server does besides its token ids never reaches a client. One table of spellings; the bytes of the link and of the
//! answer are compared, not what somebody parsed from them.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use protocol::FinishReason;
use protocol::fingerprint::LogitFingerprint;
use protocol::link::{FromServer, ToServer, frame};
use protocol::logprobs::{RankedToken, TokenLogprobs};
use serde_json::json;

use crate::client::{CHAT, Client, post, text};
use crate::fake::{END, Gateway, Generate, Setup, fingerprint, ids};

/// What becomes of a spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The server gets exactly the bytes that it gets for the plain spelling.
    Same,
    /// An allowed field with another value: the server gets that, and the claim has it.
    Other,
    /// The server gets nothing.
    Refused,
}
use Fate::{Other, Refused, Same};

/// The message that the server gets, but for what the gateway itself draws for each request.
fn bytes(request: &Generate) -> Vec<u8> {
    let Generate { prompt_ids, settings, client_seed, logprobs, .. } = request.clone();
    let (tag, nonce) = (0, protocol::Nonce::from_bytes([0; 32]));
    ToServer::Generate { tag, prompt_ids, settings, nonce, client_seed, logprobs }.encode()
}

/// Sends each, and compares what the server gets with what it gets for the plain one.
async fn check(plain: &[u8], cases: Vec<(&str, Vec<u8>, Fate)>) {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut expected = None;
    let mut tag = None;
    for (name, request, fate) in [("plain", plain.to_vec(), Same)].into_iter().chain(cases) {
        let mut client = Client::asking(gateway.address, &request).await;
        if fate == Refused {
            let response = client.response().await;
            assert!(matches!(response.status, 400 | 404), "{name}: {response:?}");
            continue;
        }
        let asked = gateway.server.generate().await;
        // Had a refused one reached the server, this would not be the next tag.
        assert_eq!(asked.tag, *tag.get_or_insert(asked.tag), "{name}");
        tag = Some(asked.tag + 1);
        gateway.server.answer(asked.tag, "y").await;
        assert_eq!(client.response().await.status, 200, "{name}");
        let asked = bytes(&asked);
        let is_same = &asked == expected.get_or_insert_with(|| asked.clone());
        assert_eq!(is_same, fate == Same, "{name}");
    }
}

const PLAIN: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"max_tokens":9,"seed":3,"temperature":0.5}"#;

/// Bodies that say the same, or more than may be said.
fn bodies() -> Vec<(&'static str, String, Fate)> {
    let with = |from: &str, to: &str| {
        let body = PLAIN.replace(from, to);
        assert_ne!(body, PLAIN, "{from} is not there");
        body
    };
    vec![
        // Order and whitespace carry nothing.
        ("order", r#"{"temperature":0.5,"seed":3,"max_tokens":9,"messages":[{"content":"Hi","role":"user"}],"model":"tiny"}"#.to_owned(), Same),
        ("spaces", with(",", " ,\t\r\n "), Same),
        ("space in front and behind", format!(" \r\n\t{PLAIN}\n\n  "), Same),
        ("no other whitespace", with(",\"seed", ",\u{a0}\"seed"), Refused),
        ("a byte order mark", format!("\u{feff}{PLAIN}"), Refused),
        ("NUL behind", format!("{PLAIN}\0"), Refused),
        ("another value behind", format!("{PLAIN} {{}}"), Refused),
        ("a comment", with(",\"seed", "/* x */,\"seed"), Refused),
        ("a comma too many", with("0.5}", "0.5,}"), Refused),
        // Spellings of the same values.
        ("escaped keys", with("\"model\"", r#""\u006d\u006fdel""#), Same),
        ("escaped text", with("\"Hi\"", r#""\u0048\u0069""#), Same),
        ("upper and lower hex", with("\"Hi\"", r#""H\u0069""#), Same),
        ("numbers", with("0.5", "5.0000e-1"), Same),
        ("more digits than are used", with("0.5", "0.5000499999"), Same),
        ("digits that are used", with("0.5", "0.5005000001"), Other),
        ("minus zero", with("\"seed\":3", "\"seed\":3,\"min_p\":-0.0"), Same),
        ("a whole number as a float", with("\"max_tokens\":9", "\"max_tokens\":9.0"), Refused),
        ("leading zeros", with("\"max_tokens\":9", "\"max_tokens\":09"), Refused),
        ("hexadecimal", with("\"max_tokens\":9", "\"max_tokens\":0x9"), Refused),
        ("a number as text", with("\"seed\":3", "\"seed\":\"3\""), Refused),
        // Fields that are read and not used.
        ("user", with("0.5}", "0.5,\"user\":\"covert\"}"), Same),
        ("name", with("\"user\",", "\"user\",\"name\":\"covert\","), Same),
        ("defaults", with("0.5}", "0.5,\"n\":1,\"top_p\":1,\"top_k\":0,\"stop\":null,\"stream\":false}"), Same),
        ("a stop sequence", with("0.5}", "0.5,\"stop\":[\"covert\"]}"), Same),
        ("parts", with("\"Hi\"", r#"[{"type":"text","text":"H"},{"text":"i","type":"text"}]"#), Same),
        ("an empty part", with("\"Hi\"", r#"[{"type":"text","text":"Hi"},{"type":"text","text":""}]"#), Same),
    ]
}

/// Keys that are not known, that look like known ones, or that come twice.
fn keys() -> Vec<(&'static str, String, Fate)> {
    let with = |more: &str| PLAIN.replace("0.5}", &format!("0.5,{more}}}"));
    let mut cases = Vec::new();
    for field in [
        "metadata",
        "tools",
        "store",
        "service_tier",
        "x",
        "",
        "model ",
        "Model",
        "_user",
        "constructor",
        "$ref",
    ] {
        cases.push(("an unknown field", with(&format!("{}:null", json!(field))), Refused));
    }
    // The Cyrillic, fullwidth, dotless, combining and zero-width cousins of known names.
    for field in [
        "m\u{43e}del",
        "\u{ff4d}odel",
        "se\u{435}d",
        "temperat\u{1d7a}re",
        "us\u{1ebd}r",
        "seed\u{200b}",
        "\u{202e}resu",
    ] {
        cases.push(("a look-alike", with(&format!("{}:null", json!(field))), Refused));
    }
    for (name, again) in [
        ("a key twice, the same", "\"seed\":3"),
        ("a key twice, not the same", "\"seed\":4"),
        ("a key twice, escaped", "\"\\u0073eed\":3"),
        ("a key twice, null", "\"seed\":null"),
    ] {
        cases.push((name, with(again), Refused));
    }
    cases.push(("a role twice", PLAIN.replace("\"user\",", "\"user\",\"role\":\"user\","), Refused));
    cases.push(("a look-alike of the model", PLAIN.replace("tiny", "t\u{456}ny"), Refused));
    cases.push(("a look-alike of the role", PLAIN.replace("\"user\"", "\"us\u{435}r<|end|>\""), Refused));
    cases
}

#[tokio::test]
async fn no_spelling_of_a_body_reaches_the_server() {
    let cases = bodies()
        .into_iter()
        .chain(keys())
        .map(|(name, body, fate)| (name, post(CHAT, body.as_bytes()), fate));
    check(&post(CHAT, PLAIN.as_bytes()), cases.collect()).await;
}

#[tokio::test]
async fn no_header_reaches_the_server() {
    let length = PLAIN.len();
    let with = |path: &str, lines: &str| format!("POST {path} HTTP/1.1\r\n{lines}\r\n{PLAIN}").into_bytes();
    let host = "Host: gateway\r\n";
    let counted = format!("Content-Length: {length}\r\n");
    let cases = vec![
        ("order", with(CHAT, &format!("{counted}{host}")), Same),
        ("case", with(CHAT, &format!("hOsT: gateway\r\ncONTENT-lENGTH: {length}\r\n")), Same),
        (
            "spaces in values",
            with(CHAT, &format!("{host}Content-Length: \t {length} \t\r\nX:   y  \r\n")),
            Same,
        ),
        ("unknown headers", with(CHAT, &format!("{host}X-Covert: 1\r\nCookie: a=b\r\n{counted}")), Same),
        ("the same header often", with(CHAT, &format!("{host}X: 1\r\nx: 2\r\nX: 3\r\n{counted}")), Same),
        ("bytes above 127", with(CHAT, &format!("{host}X: \u{e9}\u{202e}\r\n{counted}")), Same),
        (
            "trace identifiers",
            with(CHAT, &format!("{host}traceparent: 00-1\r\nX-Request-Id: 7\r\n{counted}")),
            Same,
        ),
        ("another host", with(CHAT, &format!("Host: covert.example\r\n{counted}")), Same),
        ("a content type", with(CHAT, &format!("{host}Content-Type: text/covert; q=1\r\n{counted}")), Same),
        (
            "forged names of the gateway",
            with(CHAT, &format!("{host}x-maxwell-receipt: 1\r\n{counted}")),
            Same,
        ),
        ("a query", with(&format!("{CHAT}?covert=1"), &format!("{host}{counted}")), Same),
        ("an escaped path", with("/v1/chat/%63ompletions", &format!("{host}{counted}")), Refused),
        ("a doubled slash", with("//v1/chat/completions", &format!("{host}{counted}")), Refused),
        ("a space before the colon", with(CHAT, &format!("{host}X : 1\r\n{counted}")), Refused),
        ("a folded line", with(CHAT, &format!("{host}X: 1\r\n 2\r\n{counted}")), Refused),
        (
            "a look-alike of a name",
            with(CHAT, &format!("{host}C\u{43e}ntent-Length: 1\r\n{counted}")),
            Refused,
        ),
    ];
    check(&post(CHAT, PLAIN.as_bytes()), cases).await;
}

/// Characters that look alike are other tokens: nothing is normalized away, so nothing is hidden by it either.
#[tokio::test]
async fn a_prompt_is_exactly_its_bytes() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    for prompt in
        ["\u{e9}", "e\u{301}", "\u{1d41a}", "a\u{200b}", "\u{fb01}", "\u{202e}x", "\u{feff}", " x ", "\0"]
    {
        let mut client = Client::asking(gateway.address, &text(prompt, json!({}))).await;
        let asked = gateway.server.generate().await;
        assert_eq!(asked.prompt_ids, ids(prompt), "{prompt:?}");
        gateway.server.answer(asked.tag, prompt).await;
        assert_eq!(client.response().await.json()["choices"][0]["text"], json!(prompt));
    }
}

/// The parts of an answer that are the gateway's own for each request.
fn without_names(body: &[u8], tag: u64) -> String {
    let text = String::from_utf8(body.to_vec()).unwrap().replace(&format!("{tag:016x}"), "TAG");
    let value: Vec<&str> = text.split("\"created\":").collect();
    let rest = value[1..].iter().map(|part| part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    [&value[..1], &rest.collect::<Vec<_>>()].concat().join("\"created\":")
}

/// An answer of the same tokens, told in another way.
async fn told(
    gateway: &mut Gateway,
    stream: bool,
    say: impl AsyncFnOnce(&mut Gateway, u64),
) -> (String, String) {
    let request = text("Hi", json!({ "stream": stream, "max_tokens": 3 }));
    let mut client = Client::asking(gateway.address, &request).await;
    let tag = gateway.server.generate().await.tag;
    say(gateway, tag).await;
    let response = client.response().await;
    assert!(response.status == 200 && response.whole);
    let names: Vec<&str> = ["content-type", "content-length", "cache-control", "x-maxwell-receipt"]
        .into_iter()
        .filter(|name| response.header(name).is_some())
        .collect();
    (names.join(","), without_names(&response.body, tag))
}

#[tokio::test]
async fn nothing_but_token_ids_reaches_the_client() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    for stream in [false, true] {
        let plain = told(&mut gateway, stream, async |gateway, tag| {
            gateway.server.tokens(tag, &ids("ok")).await;
            gateway.server.tokens(tag, &[END]).await;
            gateway.server.finish(tag, FinishReason::EndToken).await;
        })
        .await;
        // Other fingerprints: they are for the recomputer.
        let fingerprints = told(&mut gateway, stream, async |gateway, tag| {
            for (number, id) in (7..).zip([ids("ok"), vec![END]].concat()) {
                let fingerprint = LogitFingerprint::new(number, 99).unwrap();
                gateway.server.say(FromServer::Token { tag, id, fingerprint, logprobs: None }).await;
            }
            gateway.server.finish(tag, FinishReason::EndToken).await;
        })
        .await;
        assert_eq!(fingerprints, plain);
        // The same messages in other packets: one byte each.
        let trickled = told(&mut gateway, stream, async |gateway, tag| {
            let token = |id| FromServer::Token { tag, id, fingerprint: fingerprint(), logprobs: None };
            let mut messages: Vec<u8> = Vec::new();
            for id in [ids("ok"), vec![END]].concat() {
                messages.extend(frame(&token(id).encode()));
            }
            messages.extend(frame(&FromServer::Finished { tag, finish: FinishReason::EndToken }.encode()));
            for byte in messages {
                gateway.server.write(&[byte]).await;
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(trickled, plain);
        // The near miss: other token ids are another answer.
        let other = told(&mut gateway, stream, async |gateway, tag| {
            gateway.server.tokens(tag, &ids("no")).await;
            gateway.server.tokens(tag, &[END]).await;
            gateway.server.finish(tag, FinishReason::EndToken).await;
        })
        .await;
        assert_ne!(other, plain);
    }
}

/// A byte more, another order of a map's keys, or a longer form of a number: a message has one form, and another kills.
#[tokio::test]
async fn a_second_form_of_a_message_kills() {
    let token = |tag| FromServer::Token { tag, id: 120, fingerprint: fingerprint(), logprobs: None }.encode();
    let longer = |tag| [token(tag), vec![0]].concat();
    // A tag in nine bytes where the first ones are needed for none.
    let padded = |tag: u64| {
        let bytes = FromServer::Refused { tag }.encode();
        let short = FromServer::Refused { tag: 0 }.encode();
        let at = bytes.iter().zip(&short).take_while(|(one, other)| one == other).count();
        let mut padded = short[..at].to_vec();
        padded.push(0x1b);
        padded.extend(tag.to_be_bytes());
        padded
    };
    let ranked = TokenLogprobs { below_micronats: 5, top: vec![RankedToken { id: 1, below_micronats: 5 }] };
    let unasked = |tag| {
        FromServer::Token { tag, id: 120, fingerprint: fingerprint(), logprobs: Some(ranked.clone()) }
            .encode()
    };
    for name in ["a byte more", "a longer number", "log-probabilities"] {
        let mut gateway = Gateway::serving(Setup::default()).await;
        let mut client = Client::asking(gateway.address, &text("Hi", json!({ "max_tokens": 3 }))).await;
        let tag = gateway.server.generate().await.tag;
        let bytes = match name {
            "a byte more" => longer(tag),
            "a longer number" => padded(7),
            _ => unasked(tag),
        };
        gateway.server.write(&frame(&bytes)).await;
        let response = client.response().await;
        assert_eq!(response.status, 502, "{name}");
        assert!(response.error().contains("the server was stopped"), "{name}: {}", response.error());
    }
}
