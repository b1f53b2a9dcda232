//! Retries with a key: what is asked again, what is given again, and that nobody gains a second coin.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use gateway::limits::Rates;
use gateway::record::{Answered, Record};
use gateway::sampling::PPB;
use protocol::link::ToServer;
use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client, Response, exchange, get, post_with};
use crate::fake::{Gateway, Generate, MODEL, Setup, ids, soon};

/// A request with a key; `lines` are more header lines.
fn keyed(key: &str, lines: &str, prompt: &str, fields: Value) -> Vec<u8> {
    let mut body = json!({ "model": MODEL, "prompt": prompt, "temperature": 1 });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let lines = format!("Idempotency-Key: {key}\r\n{lines}");
    post_with(COMPLETIONS, &lines, body.to_string().as_bytes())
}

fn answers(gateway: &Gateway) -> Vec<Answered> {
    let answered = |record| {
        let Record::Answered(answered) = record else { return None };
        Some(*answered)
    };
    gateway.records().into_iter().filter_map(answered).collect()
}

/// Asks, and lets the server answer.
async fn answered(gateway: &mut Gateway, request: &[u8]) -> (Response, Generate) {
    let mut client = Client::asking(gateway.address, request).await;
    let asked = gateway.server.generate().await;
    gateway.server.answer(asked.tag, "yes").await;
    (client.response().await, asked)
}

async fn finish_soon(gateway: &Gateway, count: usize) {
    let done = async {
        while answers(gateway).len() < count {
            tokio::task::yield_now().await;
        }
    };
    soon("a record", done).await;
}

#[tokio::test]
async fn a_complete_answer_is_given_again_with_its_receipt_and_asked_once() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    for (key, fields) in [("whole", json!({})), ("stream", json!({ "stream": true }))] {
        let request = keyed(key, "", "Hi", fields);
        let (first, asked) = answered(&mut gateway, &request).await;
        assert_eq!((first.status, first.tag()), (200, asked.tag));
        assert_eq!(first.header("idempotency-replayed"), None);
        // A stream is kept when it is recorded, a moment after its end.
        let again = async {
            loop {
                let again = exchange(gateway.address, &request).await;
                if again.status != 409 {
                    return again;
                }
            }
        };
        let again = soon("the same answer", again).await;
        assert_eq!((again.status, &again.body, again.tag()), (200, &first.body, first.tag()));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.header("content-type"), first.header("content-type"));
        let receipt = get(gateway.address, &format!("/v1/receipts/{:016x}", again.tag()), "").await;
        assert_eq!(receipt.status, 200);
    }
    assert_eq!(answers(&gateway).len(), 2);
    assert_eq!(gateway.service.counters.requests.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_retry_after_a_cut_keeps_nonce_and_seed_and_so_its_coin() {
    let mut gateway = Gateway::serving(Setup { rate_ppb: PPB / 2, ..Setup::default() }).await;
    let request = keyed("cut", "", "Hi", json!({ "stream": true }));
    let mut nonces = Vec::new();
    // The client leaves three times, each time after the first token.
    for round in 0..3 {
        let mut client = Client::asking(gateway.address, &request).await;
        let asked = gateway.server.generate().await;
        gateway.server.tokens(asked.tag, &ids("y")).await;
        client.head().await.unwrap();
        client.chunk().await.unwrap();
        drop(client);
        assert_eq!(gateway.server.next().await, Some(ToServer::Cancel { tag: asked.tag }));
        gateway.server.finish(asked.tag, protocol::FinishReason::ReaderLeft).await;
        finish_soon(&gateway, round + 1).await;
        nonces.push((asked.nonce, asked.client_seed));
    }
    let (response, asked) = answered(&mut gateway, &request).await;
    assert_eq!(response.status, 200);
    nonces.push((asked.nonce, asked.client_seed));
    nonces.dedup();
    assert_eq!(nonces.len(), 1);
    finish_soon(&gateway, 4).await;
    let all = answers(&gateway);
    // Each was recorded under a counter of its own; the same part of the answer had the same coin each time.
    let tags: Vec<u64> = all.iter().map(|answered| answered.tag).collect();
    assert_eq!(tags, [tags[0], tags[0] + 1, tags[0] + 2, tags[0] + 3]);
    let digests: Vec<_> =
        all[..3].iter().map(|answered| (answered.claim.digest(), answered.picked)).collect();
    assert_eq!((digests[0], digests[1]), (digests[1], digests[2]));
    assert!(all.iter().all(|answered| answered.claim.seed == all[0].claim.seed));
    // Near miss: without a key, or with another, it is a new request.
    for other in [keyed("other", "", "Hi", json!({})), post_with(COMPLETIONS, "", &body_of(&request))] {
        let (_, fresh) = answered(&mut gateway, &other).await;
        assert_ne!(fresh.nonce, asked.nonce);
    }
}

fn body_of(request: &[u8]) -> Vec<u8> {
    let at = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    request[at + 4..].to_vec()
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused_and_another_clients_key_is_another() {
    let keys = vec![("alice", Rates::default()), ("bob", Rates::default())];
    let mut gateway = Gateway::serving(Setup { keys, ..Setup::default() }).await;
    let [alice, bob] = ["alice", "bob"].map(|name| format!("Authorization: Bearer {name}{name}\r\n"));
    let request = keyed("k", &alice, "Hi", json!({}));
    let mut first = Client::asking(gateway.address, &request).await;
    let asked = gateway.server.generate().await;
    let running = exchange(gateway.address, &request).await;
    assert_eq!((running.status, running.header("retry-after")), (409, Some("1")));
    let changed = keyed("k", &alice, "Hi!", json!({}));
    assert_eq!(exchange(gateway.address, &changed).await.status, 422);
    // Bob's own request with the same key and body: neither refused nor Alice's answer.
    let (of_bob, other) = answered(&mut gateway, &keyed("k", &bob, "Hi", json!({}))).await;
    assert_eq!((of_bob.status, of_bob.header("idempotency-replayed")), (200, None));
    assert_ne!(other.nonce, asked.nonce);
    gateway.server.answer(asked.tag, "yes").await;
    assert_eq!(first.response().await.tag(), asked.tag);
    assert_eq!(exchange(gateway.address, &changed).await.status, 422);
    assert_eq!(exchange(gateway.address, &request).await.tag(), asked.tag);
    // The same bytes for another route are another request.
    let elsewhere = post_with(CHAT, &format!("Idempotency-Key: k\r\n{alice}"), &body_of(&request));
    assert_eq!(exchange(gateway.address, &elsewhere).await.status, 422);
    for key in ["", "with space", &"k".repeat(256)] {
        assert_eq!(exchange(gateway.address, &keyed(key, &alice, "Hi", json!({}))).await.status, 400);
    }
}

#[tokio::test]
async fn a_request_that_was_refused_may_be_corrected_under_its_key() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let wrong = keyed("k", "", "Hi", json!({ "no_such_field": 1 }));
    assert_eq!(exchange(gateway.address, &wrong).await.status, 400);
    let (right, _) = answered(&mut gateway, &keyed("k", "", "Hi", json!({}))).await;
    assert_eq!(right.status, 200);
}
