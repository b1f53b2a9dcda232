//! One line for each request, and durations for monitors: what they say, and that they never say what was asked or answered,
//! nor a key.
use gateway::limits::Rates;
use protocol::FinishReason;
use protocol::link::FromServer;
use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client, get, metric, post_with};
use crate::fake::{Gateway, Setup, ids, soon};
use crate::lines::Lines;

const KEY: &str = "Authorization: Bearer alicealice\r\n";

fn asking(prompt: &str, stream: bool) -> Vec<u8> {
    let body = json!({ "model": "tiny", "prompt": prompt, "stream": stream, "user": "SECRETUSER" });
    post_with(COMPLETIONS, KEY, body.to_string().as_bytes())
}

#[tokio::test]
async fn each_request_has_one_line_and_no_word_of_it() {
    let lines = Lines::default();
    let _guard = lines.collect();
    let keys = vec![("alice", Rates::default())];
    let mut gateway = Gateway::serving(Setup { keys, ..Setup::default() }).await;
    let mut expected = Vec::new();
    // A whole answer, and a stream.
    for stream in [false, true] {
        let mut client = Client::asking(gateway.address, &asking("SECRETPROMPT", stream)).await;
        let tag = gateway.server.generate().await.tag;
        gateway.server.answer(tag, "SECRETANSWER").await;
        let response = client.response().await;
        expected.push(json!({
            "message": "answered", "tag": format!("{tag:016x}"), "model": "tiny", "status": 200,
            "prompt_tokens": 12, "completion_tokens": 13, "bytes": response.body.len(), "finish": "stop",
        }));
    }
    // A client that leaves, before and after the first token.
    for tokens in ["", "S"] {
        let mut client = Client::asking(gateway.address, &asking("Hi", tokens == "S")).await;
        let tag = gateway.server.generate().await.tag;
        let mut bytes = 0;
        if tokens == "S" {
            gateway.server.tokens(tag, &ids(tokens)).await;
            client.head().await.unwrap();
            bytes = client.chunk().await.unwrap().len();
        }
        drop(client);
        assert_eq!(gateway.server.cancelled().await, tag);
        gateway.server.finish(tag, FinishReason::ReaderLeft).await;
        expected.push(json!({
            "message": "answered", "tag": format!("{tag:016x}"), "model": "tiny",
            "status": if tokens == "S" { 200 } else { 499 },
            "prompt_tokens": 2, "completion_tokens": tokens.len(), "bytes": bytes, "finish": "reader_left",
        }));
    }
    // A server without room.
    let mut client = Client::asking(gateway.address, &asking("Hi", false)).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.say(FromServer::Refused { tag }).await;
    let response = client.response().await;
    expected.push(json!({
        "message": "answered", "tag": format!("{tag:016x}"), "model": "tiny", "status": 502,
        "prompt_tokens": 2, "completion_tokens": 0, "bytes": response.body.len(), "finish": "no_room",
    }));
    // What is refused.
    for (request, status, reason) in [
        (post_with(CHAT, "Authorization: Bearer SECRETKEY\r\n", b"{}"), 401, "api_key"),
        (post_with(COMPLETIONS, KEY, b"{\"SECRETFIELD\":1}"), 400, "bad_request"),
        (post_with(COMPLETIONS, KEY, b"{\"model\":\"SECRETMODEL\",\"prompt\":\"x\"}"), 404, "not_here"),
        (post_with("/v1/SECRETPATH", KEY, b"{}"), 404, "not_here"),
        (post_with("/v1/models", KEY, b"{}"), 405, "not_here"),
    ] {
        client.send(&request).await;
        assert_eq!(client.response().await.status, status);
        expected.push(json!({ "message": "refused", "status": status, "reason": reason }));
    }
    soon("the last record", gateway.service.finish_answers()).await;
    // Clients that leave are over when they are over.
    let order = |lines: &mut Vec<Value>| lines.sort_by_key(Value::to_string);
    let mut found = lines.requests();
    order(&mut found);
    order(&mut expected);
    assert_eq!(found, expected);
    let text = lines.text();
    assert!(!text.contains("SECRET") && !text.contains("alicealice"), "{text}");
}

#[tokio::test]
async fn monitors_see_durations_and_the_time_between_pieces() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    for stream in [false, true] {
        let mut client = Client::asking(gateway.address, &asking("Hi", stream)).await;
        let tag = gateway.server.generate().await.tag;
        gateway.server.answer(tag, "four").await;
        assert_eq!(client.response().await.status, 200);
    }
    // One that has no token.
    let mut client = Client::asking(gateway.address, &asking("Hi", false)).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.say(FromServer::Refused { tag }).await;
    assert_eq!(client.response().await.status, 502);
    soon("the last record", gateway.service.finish_answers()).await;
    let count = async |name: &str| metric(gateway.address, &format!("maxwell_{name}_seconds_count")).await;
    assert_eq!(count("request_duration").await, 3);
    assert_eq!(count("time_to_first_token").await, 2);
    // Four pieces of text and the end.
    assert_eq!(count("inter_chunk").await, 4);
    let page = String::from_utf8(get(gateway.address, "/metrics", "").await.body).unwrap();
    for name in ["request_duration", "time_to_first_token", "inter_chunk"] {
        assert!(page.contains(&format!("# TYPE maxwell_{name}_seconds histogram\n")), "{name}");
        assert!(page.contains(&format!("maxwell_{name}_seconds_bucket{{le=\"+Inf\"}}")), "{name}");
    }
}
