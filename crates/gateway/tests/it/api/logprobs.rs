//! Log-probabilities from the server to the client and to the recomputer: whole, streamed, cut off, and not asked for.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use gateway::state::{KillReason, Mode};
use protocol::lease::FromGateway;
use protocol::link::FromServer;
use protocol::logprobs::{Logprobs, RankedToken, TokenLogprobs};
use protocol::{Claim, FinishReason};
use serde_json::{Value, json};

use super::leases::Recomputer;
use crate::client::{Client, chat, exchange, text};
use crate::fake::{END, Gateway, Setup, fingerprint};

/// What a server says of a token: its own value depends on it, and the best ones are the lowest.
fn of_token(id: u32, top: u8) -> TokenLogprobs {
    let value = |id: u32| 1_000 * (id + 1);
    let ranked = |id: u32| RankedToken { id, below_micronats: value(id) };
    TokenLogprobs { below_micronats: value(id), top: (0..u32::from(top)).map(ranked).collect() }
}

/// Answers with these tokens and gives what the client gets.
async fn answered(
    gateway: &mut Gateway,
    request: &[u8],
    top: Option<u8>,
    ids: &[u32],
) -> crate::client::Response {
    let mut client = Client::asking(gateway.address, request).await;
    let asked = gateway.server.generate().await;
    assert_eq!(asked.logprobs, top);
    for &id in ids {
        let logprobs = top.map(|top| of_token(id, top));
        gateway
            .server
            .say(FromServer::Token { tag: asked.tag, id, fingerprint: fingerprint(), logprobs })
            .await;
    }
    let finish = if ids.last() == Some(&END) { FinishReason::EndToken } else { FinishReason::Length };
    gateway.server.finish(asked.tag, finish).await;
    let response = client.response().await;
    assert_eq!(response.status, 200);
    response
}

/// Tokens of a chat's log-probabilities, as text.
fn tokens(logprobs: &Value) -> Vec<String> {
    let content = logprobs["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    content.iter().map(|token| token["token"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_client_and_the_recomputer_get_what_the_server_said() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let request = chat("Hi", json!({ "logprobs": true, "top_logprobs": 2 }));
    let ids = [u32::from(b'o'), u32::from(b'k'), END];
    let answer = answered(&mut gateway, &request, Some(2), &ids).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "ok");
    // The end token is not part of the text.
    assert_eq!(tokens(&choice["logprobs"]), ["o", "k"]);
    let first = &choice["logprobs"]["content"][0];
    assert_eq!((&first["logprob"], &first["bytes"]), (&json!(-0.112), &json!(b"o")));
    assert_eq!(first["top_logprobs"][1]["logprob"], json!(-0.002));
    let Some(FromGateway::Job { claim, .. }) = Recomputer::new(&gateway).await.lease().await else {
        unreachable!("it is always picked")
    };
    let expected = Logprobs { top: 2, tokens: ids.iter().map(|id| of_token(*id, 2)).collect() };
    assert_eq!(Claim::decode(&claim).unwrap().logprobs, Some(expected));
}

#[tokio::test]
async fn not_asked_for_they_are_not_there_and_nobody_is_punished() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    for fields in [json!({}), json!({ "logprobs": false }), json!({ "logprobs": null, "top_logprobs": null })]
    {
        let answer = answered(&mut gateway, &chat("Hi", fields), None, &[u32::from(b'o'), END]).await;
        assert_eq!(answer.json()["choices"][0]["logprobs"], Value::Null);
    }
    let Some(FromGateway::Job { claim, .. }) = Recomputer::new(&gateway).await.lease().await else {
        unreachable!("it is always picked")
    };
    assert_eq!(Claim::decode(&claim).unwrap().logprobs, None);
}

#[tokio::test]
async fn a_server_that_sends_them_unasked_is_killed() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let _client = Client::asking(gateway.address, &chat("Hi", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    let logprobs = Some(of_token(97, 0));
    gateway.server.say(FromServer::Token { tag, id: 97, fingerprint: fingerprint(), logprobs }).await;
    gateway.link.reaches(Mode::Killed(KillReason::Logprobs)).await;
}

#[tokio::test]
async fn texts_and_streams() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let bytes: Vec<u32> = "aß".bytes().map(u32::from).chain([u32::from(b'z')]).collect();
    let whole =
        answered(&mut gateway, &text("Hi", json!({ "logprobs": 1, "max_tokens": 4 })), Some(1), &bytes).await;
    let logprobs = &whole.json()["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["a", "bytes:\\xc3", "bytes:\\x9f", "z"]));
    // Both halves of a character begin where it does.
    assert_eq!(logprobs["text_offset"], json!([0, 1, 1, 2]));
    assert_eq!(logprobs["token_logprobs"], json!([-0.098, -0.196, -0.160, -0.123]));
    assert_eq!(logprobs["top_logprobs"][0], json!({ "\u{0}": -0.001, "a": -0.098 }));
    // A stream has the same ones, each with its piece of text.
    let fields = json!({ "logprobs": true, "stream": true, "max_tokens": 4 });
    let stream = answered(&mut gateway, &chat("Hi", fields), Some(0), &bytes).await;
    let pieces: Vec<(Value, Vec<String>)> = stream
        .events()
        .iter()
        .filter(|event| event["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty()))
        .map(|event| {
            let choice = &event["choices"][0];
            (choice["delta"]["content"].clone(), tokens(&choice["logprobs"]))
        })
        .collect();
    let lossy = "\u{fffd}".to_owned();
    assert_eq!(
        pieces,
        [
            (json!("a"), vec!["a".to_owned()]),
            (json!("ß"), vec![lossy.clone(), lossy]),
            (json!("z"), vec!["z".to_owned()])
        ]
    );
}

#[tokio::test]
async fn what_a_stop_sequence_cuts_off_has_none() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    for stream in [false, true] {
        let fields = json!({ "logprobs": true, "stop": "STOP", "stream": stream, "max_tokens": 9 });
        let mut client = Client::asking(gateway.address, &chat("Hi", fields)).await;
        let tag = gateway.server.generate().await.tag;
        for byte in *b"xySTOP" {
            let id = u32::from(byte);
            let logprobs = Some(of_token(id, 0));
            gateway.server.say(FromServer::Token { tag, id, fingerprint: fingerprint(), logprobs }).await;
        }
        assert_eq!(gateway.server.cancelled().await, tag);
        gateway.server.finish(tag, FinishReason::ReaderLeft).await;
        let response = client.response().await;
        let shown = if stream {
            let events = response.events();
            events.iter().flat_map(|event| tokens(&event["choices"][0]["logprobs"])).collect()
        } else {
            tokens(&response.json()["choices"][0]["logprobs"])
        };
        assert_eq!(shown, ["x", "y"], "stream: {stream}");
    }
}

#[tokio::test]
async fn wrong_wishes_are_refused_by_name() {
    let gateway = Gateway::serving(Setup::default()).await;
    for (request, param) in [
        (chat("Hi", json!({ "logprobs": 5 })), "logprobs"),
        (chat("Hi", json!({ "logprobs": true, "top_logprobs": 21 })), "top_logprobs"),
        (chat("Hi", json!({ "top_logprobs": 3 })), "top_logprobs"),
        (chat("Hi", json!({ "logprobs": false, "top_logprobs": 0 })), "top_logprobs"),
        (text("Hi", json!({ "logprobs": true })), "logprobs"),
        (text("Hi", json!({ "logprobs": 6 })), "logprobs"),
        (text("Hi", json!({ "logprobs": 1, "top_logprobs": 1 })), "top_logprobs"),
    ] {
        let response = exchange(gateway.address, &request).await;
        assert_eq!((response.status, &response.json()["error"]["param"]), (400, &json!(param)));
    }
}
