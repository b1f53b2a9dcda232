//! What a client gets for a request that is refused; the server gets nothing.

use gateway::body::MAX_BODY_BYTES;
use gateway::limits::Rates;
use gateway::panel::PanelPolicy;
use gateway::server_link::Command;
use gateway::state::{KillReason, Mode};
use protocol::FinishReason;
use protocol::lease::Outcome;
use protocol::link::FromServer;
use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client, Response, chat, exchange, get, post, post_with, text};
use crate::fake::{CONTEXT, Gateway, Setup, ids};

/// Sends a good request, and expects that it is the first that the server gets.
async fn check_nothing_came_before(gateway: &mut Gateway, first_tag: u64) {
    let client = Client::asking(gateway.address, &text("last", json!({}))).await;
    let request = gateway.server.generate().await;
    assert_eq!((request.prompt_ids, request.tag & 0xff_ffff), (ids("last"), first_tag));
    drop(client);
}

#[tokio::test]
async fn paths_methods_and_models() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    for path in ["/", "/v1", "/v1/chat/completions/", "/v2/models", "/%2e%2e/health"] {
        let response = get(gateway.address, path, "").await;
        assert_eq!((response.status, response.error().as_str()), (404, "there is no such path"), "{path}");
    }
    for (path, allowed) in [(CHAT, "POST"), ("/health", "GET,HEAD")] {
        let wrong = if path == CHAT {
            get(gateway.address, path, "").await
        } else {
            exchange(gateway.address, &post(path, b"{}")).await
        };
        assert_eq!((wrong.status, wrong.header("allow")), (405, Some(allowed)));
        assert_eq!(wrong.json()["error"]["type"], "invalid_request_error");
        assert!(wrong.error().contains("method"), "{}", wrong.error());
    }
    for path in [CHAT, COMPLETIONS] {
        let field = if path == CHAT { "messages" } else { "prompt" };
        let content = if path == CHAT { json!([{ "role": "user", "content": "x" }]) } else { json!("x") };
        for model in ["tin", "tiny2", "Tiny", ""] {
            let body = json!({ "model": model, field: content });
            let response = exchange(gateway.address, &post(path, body.to_string().as_bytes())).await;
            assert_eq!((response.status, &response.json()["error"]["param"]), (404, &json!("model")));
        }
    }
    check_nothing_came_before(&mut gateway, 0).await;
}

const NO_LIMIT: Rates = Rates { requests_per_minute: None, tokens_per_minute: None };
const KEYS: &[(&str, Rates)] = &[("right", NO_LIMIT), ("other", NO_LIMIT)];

#[tokio::test]
async fn keys() {
    let mut gateway = Gateway::serving(Setup { keys: KEYS.to_vec(), ..Setup::default() }).await;
    let body = json!({ "model": "tiny", "prompt": "x" }).to_string();
    for lines in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Bearer right\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: rightright\r\n",
        "Authorization: Bearer rightright2\r\n",
        "Authorization: Bearer Rightright\r\n",
        "Authorization: Basic rightright\r\n",
        "Authorization: Bearer wrong\r\nAuthorization: Bearer rightright\r\n",
        "X-Api-Key: rightright\r\n",
    ] {
        for path in ["/v1/models", "/v1/receipts/0000000000000000"] {
            assert_eq!(get(gateway.address, path, lines).await.status, 401, "{path} {lines}");
        }
        let response = exchange(gateway.address, &post_with(COMPLETIONS, lines, body.as_bytes())).await;
        assert_eq!(response.status, 401, "{lines}");
    }
    assert_eq!(get(gateway.address, "/health", "").await.status, 200);
    assert_eq!(get(gateway.address, "/v1/models", "Authorization: Bearer otherother\r\n").await.status, 200);
    let request = post_with(COMPLETIONS, "authorization: Bearer rightright\r\n", body.as_bytes());
    let mut client = Client::asking(gateway.address, &request).await;
    let request = gateway.server.generate().await;
    assert_eq!(request.tag & 0xff_ffff, 0);
    gateway.server.answer(request.tag, "y").await;
    assert_eq!(client.response().await.status, 200);
}

async fn check_bad(gateway: &Gateway, path: &str, body: &str, names: &str) {
    let response = exchange(gateway.address, &post(path, body.as_bytes())).await;
    let error = &response.json()["error"];
    assert_eq!((response.status, &error["type"]), (400, &json!("invalid_request_error")), "{body}");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains(names) || error["param"] == json!(names), "{body}: {error}");
}

#[tokio::test]
async fn bodies_that_are_no_request() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let start = r#"{"model":"tiny","prompt":"x""#;
    for (more, names) in [
        (r#","tools":[]"#, "tools"),
        (r#","logprobs":6"#, "logprobs"),
        (r#","Model":"tiny""#, "Model"),
        (r#","model":"tiny""#, "model"),
        (r#","prompt":"y""#, "prompt"),
        (r#","stream":true,"stream":true"#, "stream"),
        (r#","\u0070rompt":"y""#, "prompt"),
        (r#","messages":[]"#, "prompt"),
        (r#","max_tokens":"5""#, "5"),
        (r#","max_tokens":5.0"#, "5.0"),
        (r#","max_tokens":-5"#, "-5"),
        (r#","max_tokens":0"#, "max_tokens"),
        (r#","max_tokens":1048577"#, "max_tokens"),
        (r#","max_tokens":4294967296"#, "4294967296"),
        (r#","max_tokens":5,"max_completion_tokens":5"#, "max_tokens"),
        (r#","temperature":-1"#, "temperature"),
        (r#","temperature":0.001"#, "temperature"),
        (r#","temperature":1e400"#, "number"),
        (r#","temperature":1e300"#, "temperature"),
        (r#","temperature":NaN"#, "expected"),
        (r#","top_p":1.1"#, "top_p"),
        (r#","top_p":0"#, "top_p"),
        (r#","min_p":2"#, "min_p"),
        (r#","repetition_penalty":0"#, "repetition_penalty"),
        (r#","seed":1.5"#, "1.5"),
        (r#","seed":9223372036854775808"#, "9223372036854775808"),
        (r#","n":2"#, "n"),
        (r#","stop":["a","b","c","d","e"]"#, "stop"),
        (r#","stop":"""#, "stop"),
        (r#","stream":"true""#, "true"),
        (r#","stream_options":{"include_usage":true,"x":1}"#, "x"),
        (r#","user":7"#, "7"),
    ] {
        check_bad(&gateway, COMPLETIONS, &format!("{start}{more}}}"), names).await;
    }
    let long_stop = format!("{start},\"stop\":\"{}\"}}", "x".repeat(257));
    check_bad(&gateway, COMPLETIONS, &long_stop, "stop").await;
    for body in [
        "",
        "null",
        "[]",
        "\u{feff}{}",
        "{}",
        r#"{"model":"tiny"}"#,
        r#"{"model":"tiny","prompt":"\ud800"}"#,
        r#"{"model":"tiny","prompt":"x"}{}"#,
    ] {
        check_bad(&gateway, COMPLETIONS, body, "").await;
    }
    let deep = "[".repeat(200_000);
    check_bad(&gateway, COMPLETIONS, &deep, "").await;
    let invalid = [&br#"{"model":"tiny","prompt":""#[..], b"\xff", br#""}"#].concat();
    assert_eq!(exchange(gateway.address, &post(COMPLETIONS, &invalid)).await.status, 400);
    check_nothing_came_before(&mut gateway, 0).await;
}

#[tokio::test]
async fn conversations_that_are_none() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    for (messages, names) in [
        (json!([{ "role": "user" }]), "content"),
        (json!([{ "role": "user", "content": "x", "tool_calls": [] }]), "tool_calls"),
        (json!([{ "role": "<|end|>", "content": "x" }]), "messages"),
        (json!([{ "role": "user", "content": 7 }]), "Content"),
        (json!([{ "role": "user", "content": [{ "type": "image_url", "text": "x" }] }]), "messages"),
        (json!([{ "role": "user", "content": [{ "type": "text", "text": "x", "y": 1 }] }]), "Content"),
        (json!("x"), "x"),
        (Value::Null, "messages"),
    ] {
        let body = json!({ "model": "tiny", "messages": messages }).to_string();
        check_bad(&gateway, CHAT, &body, names).await;
    }
    let body = r#"{"model":"tiny","messages":[{"role":"user","role":"system","content":"x"}]}"#;
    check_bad(&gateway, CHAT, body, "role").await;
    check_nothing_came_before(&mut gateway, 0).await;
}

#[tokio::test]
async fn too_long() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let context = usize::try_from(CONTEXT).unwrap();
    let response = exchange(gateway.address, &text(&"x".repeat(context), json!({}))).await;
    assert_eq!((response.status, &response.json()["error"]["param"]), (400, &json!("prompt")));
    let response = exchange(gateway.address, &text("", json!({}))).await;
    assert_eq!((response.status, &response.json()["error"]["param"]), (400, &json!("prompt")));
    let response = exchange(gateway.address, &chat(&"x".repeat(context), json!({}))).await;
    assert_eq!((response.status, &response.json()["error"]["param"]), (400, &json!("messages")));
    let response = exchange(gateway.address, &post(CHAT, &vec![b' '; MAX_BODY_BYTES + 1])).await;
    assert_eq!((response.status, &response.json()["error"]["type"]), (413, &json!("invalid_request_error")));
    let response = exchange(gateway.address, &post(CHAT, &vec![b' '; MAX_BODY_BYTES])).await;
    assert_eq!(response.status, 400);
    // One token less than the context fits.
    let mut client = Client::asking(gateway.address, &text(&"x".repeat(context - 1), json!({}))).await;
    let request = gateway.server.generate().await;
    assert_eq!((request.prompt_ids.len(), request.tag & 0xff_ffff), (context - 1, 0));
    gateway.server.tokens(request.tag, &ids("y")).await;
    gateway.server.finish(request.tag, FinishReason::ContextFull).await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_chunked_body_has_a_limit_too() {
    let gateway = Gateway::serving(Setup::default()).await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut client = Client::asking(gateway.address, head.as_bytes()).await;
    let chunk = [&b"100000\r\n"[..], &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..=(MAX_BODY_BYTES >> 20) {
        client.send(&chunk).await;
    }
    // The gateway may close before it has read all, and then the response may be lost.
    assert!(client.maybe_response().await.is_none_or(|response| response.status == 413));
    assert_eq!(get(gateway.address, "/health", "").await.status, 200);
}

fn check_busy(response: &Response, status: u16, says: &str) {
    assert_eq!(response.status, status);
    assert!(response.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    assert!(response.error().contains(says), "{}", response.error());
}

#[tokio::test]
async fn all_places_are_taken() {
    let mut gateway = Gateway::serving(Setup { in_flight_max: 2, ..Setup::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let client = Client::asking(gateway.address, &text("x", json!({}))).await;
        clients.push((client, gateway.server.generate().await.tag));
    }
    check_busy(&exchange(gateway.address, &text("x", json!({}))).await, 429, "all 2 places");
    let (mut client, tag) = clients.remove(0);
    gateway.server.answer(tag, "y").await;
    assert_eq!(client.response().await.status, 200);
    // The place is given back when the answer is there, a moment after the client has it.
    loop {
        let mut client = Client::asking(gateway.address, &text("x", json!({}))).await;
        tokio::select! {
            response = client.response() => assert_eq!(response.status, 429),
            request = gateway.server.generate() => {
                assert_eq!(request.prompt_ids, ids("x"));
                break;
            }
        }
    }
}

#[tokio::test]
async fn the_backlog_is_full() {
    let mut gateway =
        Gateway::serving(Setup { recomputers: PanelPolicy::single(600_000, 1), ..Setup::default() }).await;
    let mut client = Client::asking(gateway.address, &text("x", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    // The answer that runs may need the only place.
    check_busy(&exchange(gateway.address, &text("x", json!({}))).await, 503, "recomputation");
    gateway.server.answer(tag, "y").await;
    assert_eq!(client.response().await.status, 200);
    check_busy(&exchange(gateway.address, &text("x", json!({}))).await, 503, "recomputation");
    let service = gateway.service.clone();
    tokio::task::spawn_blocking(move || service.judged(0, tag, &Outcome::Pass)).await.unwrap().unwrap();
    let mut client = Client::asking(gateway.address, &text("x", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.answer(tag, "y").await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn after_a_kill() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    gateway.server.tokens(99, &[1]).await;
    gateway.link.reaches(Mode::Killed(KillReason::Tag)).await;
    check_busy(&exchange(gateway.address, &text("x", json!({}))).await, 503, "Killed(Tag)");
    assert_eq!(get(gateway.address, "/health", "").await.status, 503);
    let status = get(gateway.address, "/status", "").await.json();
    assert_eq!((&status["mode"], &status["killed"]), (&json!("killed"), &json!("tag")));
    gateway.link.ends_killed(KillReason::Tag).await;
}

#[tokio::test]
async fn while_it_drains() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &text("x", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.link.commands.send(Command::Drain).await.unwrap();
    gateway.link.reaches(Mode::Drain).await;
    check_busy(&exchange(gateway.address, &text("x", json!({}))).await, 503, "Drain");
    gateway.server.answer(tag, "y").await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(gateway.link.end().await, Mode::Off);
}

#[tokio::test]
async fn a_server_without_room() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    for stream in [false, true] {
        let request = text("x", json!({ "stream": stream }));
        let mut client = Client::asking(gateway.address, &request).await;
        let tag = gateway.server.generate().await.tag;
        gateway.server.say(FromServer::Refused { tag }).await;
        let response = client.response().await;
        let error = if stream { response.events()[0].clone() } else { response.json() };
        assert_eq!(response.status, if stream { 200 } else { 502 });
        assert!(error["error"]["message"].as_str().is_some_and(|message| message.contains("no room")));
        let receipt = get(gateway.address, &format!("/v1/receipts/{tag:016x}"), "").await;
        assert_eq!(receipt.status, 404);
    }
    assert_eq!(gateway.service.mode(), Mode::Serving);
}
