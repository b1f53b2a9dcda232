//! What is many, what is large, what lasts long and what runs full: the gateway holds, and nothing that it acknowledged is
//! lost. Time is virtual; nothing sleeps.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway::access::Timeouts;
use gateway::body::MAX_BODY_BYTES;
use gateway::panel::PanelPolicy;
use gateway::record::{Answered, Record};
use gateway::state::{KillReason, Mode};
use protocol::FinishReason;
use protocol::link::ToServer;
use protocol::receipt::response_digest;
use serde_json::json;

use super::receipts::receipt;
use crate::client::{COMPLETIONS, Client, exchange, get, metric, post, text};
use crate::fake::{FakeServer, Gateway, Setup, ids, soon};

const CLIENTS: usize = 1000;

fn answers(gateway: &Gateway) -> Vec<Answered> {
    let answered = |record| {
        let Record::Answered(answered) = record else { return None };
        Some(*answered)
    };
    gateway.records().into_iter().filter_map(answered).collect()
}

#[tokio::test]
async fn a_thousand_clients_at_once_get_each_their_own() {
    let setup = Setup {
        in_flight_max: CLIENTS,
        connections_max: CLIENTS + 1,
        recomputers: PanelPolicy::single(600_000, CLIENTS),
        ..Setup::default()
    };
    let mut gateway = Gateway::serving(setup).await;
    let (mut clients, mut asked) = (Vec::new(), Vec::new());
    for number in 0..CLIENTS {
        let fields = json!({ "stream": number % 2 == 0, "max_tokens": 8 });
        let client = Client::asking(gateway.address, &text(&number.to_string(), fields)).await;
        clients.push(client);
        asked.push(gateway.server.generate().await);
    }
    // All of them are being answered, so there is no place for one more.
    assert_eq!(gateway.service.in_flight(), CLIENTS);
    assert_eq!(exchange(gateway.address, &text("x", json!({ "max_tokens": 8 }))).await.status, 429);
    // The last one first. Each gets its own prompt back.
    for request in asked.iter().rev() {
        gateway.server.tokens(request.tag, &request.prompt_ids).await;
        gateway.server.answer(request.tag, "").await;
    }
    for (number, mut client) in clients.into_iter().enumerate() {
        let response = client.response().await;
        assert_eq!((response.status, response.whole), (200, true), "client {number}");
        assert_eq!(response.tag(), asked[number].tag);
        let pieces = if number % 2 == 0 { response.events() } else { vec![response.json()] };
        let text: String = pieces.iter().filter_map(|piece| piece["choices"][0]["text"].as_str()).collect();
        assert_eq!(text, number.to_string());
    }
    soon("the last record", gateway.service.finish_answers()).await;
    let mut tags: Vec<u64> = answers(&gateway).iter().map(|answered| answered.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, asked.iter().map(|request| request.tag).collect::<Vec<_>>());
    assert_eq!(gateway.service.backlog(), CLIENTS);
}

/// Answers the challenges that are there by now, and gives their number. A server that was killed gets none.
async fn prove_all(server: &mut FakeServer) -> u32 {
    let mut proved = 0;
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(1), server.read()).await {
        let ToServer::Readback { challenge, key, ranges } = message else { unreachable!("{message:?}") };
        server.prove(challenge, &key, &ranges).await;
        proved += 1;
    }
    proved
}

/// An hour with a token every quarter of a minute, with the limits of a real gateway towards its clients.
#[tokio::test]
async fn a_stream_of_an_hour_comes_to_its_end() {
    const TOKENS: u32 = 240;
    const PAUSE: Duration = Duration::from_secs(15);
    let setup = Setup { timeouts: Timeouts::default(), ..Setup::default() };
    let mut gateway = Gateway::serving(setup).await;
    let fields = json!({ "stream": true, "max_tokens": TOKENS });
    let mut client = Client::asking(gateway.address, &text("Hi", fields)).await;
    let tag = gateway.server.generate().await.tag;
    client.head().await.unwrap();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let (mut challenges, mut body) = (0, Vec::new());
    for _ in 0..TOKENS {
        gateway.server.tokens(tag, &ids("x")).await;
        body.extend(client.chunk().await.unwrap());
        tokio::time::advance(PAUSE).await;
        challenges += prove_all(&mut gateway.server).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(3600));
    tokio::time::resume();
    gateway.server.finish(tag, FinishReason::Length).await;
    while let Some(chunk) = client.chunk().await.filter(|chunk| !chunk.is_empty()) {
        body.extend(chunk);
    }
    assert_eq!(crate::client::events(&body).len(), usize::try_from(TOKENS).unwrap() + 2);
    // The server had to prove its weights while it answered.
    assert!(challenges > 100, "{challenges} challenges");
    let receipt = receipt(&gateway, tag).await;
    assert_eq!((receipt.output_tokens, receipt.response), (TOKENS, response_digest(&body)));
    assert_eq!(answers(&gateway)[0].claim.output_ids.len(), 240);
    // The near miss: the same pause over and over, and no token.
    let client = Client::asking(gateway.address, &text("Hi", json!({ "stream": true }))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.tokens(tag, &ids("x")).await;
    tokio::time::pause();
    for _ in 0..=40 {
        tokio::time::advance(PAUSE).await;
        prove_all(&mut gateway.server).await;
    }
    tokio::time::resume();
    gateway.link.reaches(Mode::Killed(KillReason::Silent)).await;
    drop(client);
}

#[tokio::test]
async fn ten_megabytes_are_read_refused_and_forgotten() {
    // Room for one of them, so that each must have given its room back before the next.
    let mut gateway = Gateway::serving(Setup { body_room_bytes: 11 << 20, ..Setup::default() }).await;
    let prompt = "x".repeat(10 << 20);
    let request = text(&prompt, json!({}));
    let mut client = Client::asking(gateway.address, &request).await;
    let first = client.response().await;
    assert_eq!((first.status, &first.json()["error"]["param"]), (400, &json!("prompt")));
    assert!(first.error().contains("more tokens than fit"), "{}", first.error());
    // On the same connection, again and again, and then a proper one.
    for _ in 0..3 {
        client.send(&request).await;
        assert_eq!(client.response().await.status, 400);
    }
    client.send(&text("Hi", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.answer(tag, "y").await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(gateway.service.in_flight(), 0);
}

#[tokio::test]
async fn bodies_have_room_for_all_together_and_no_more() {
    let body_room_bytes = 256 << 10;
    let mut gateway = Gateway::serving(Setup { body_room_bytes, ..Setup::default() }).await;
    // All but the end of two bodies fills the room; they are not refused, since they were first.
    let long = post(
        COMPLETIONS,
        format!("{{\"model\":\"tiny\",\"prompt\":\"{}\"}}", "x".repeat(100 << 10)).as_bytes(),
    );
    let mut slow = Vec::new();
    for _ in 0..2 {
        slow.push(Client::asking(gateway.address, &long[..long.len() - 1]).await);
    }
    // Until both are read, a third may be faster; it fits then, and its length is refused.
    loop {
        let mut client = Client::asking(gateway.address, &long).await;
        let refused = client.response().await;
        if refused.status == 400 {
            continue;
        }
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        assert_eq!(refused.header("connection"), Some("close"));
        assert!(client.maybe_response().await.is_none());
        break;
    }
    assert!(metric(gateway.address, "maxwell_rejected_total{reason=\"body_room\"}").await >= 1);
    // Small ones have room, and the slow ones get their answer.
    let mut client = Client::asking(gateway.address, &text("Hi", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.answer(tag, "y").await;
    assert_eq!(client.response().await.status, 200);
    for mut client in slow {
        client.send(b"}").await;
        assert_eq!(client.response().await.status, 400);
    }
    let response = exchange(gateway.address, &long).await;
    assert!(response.error().contains("more tokens than fit"), "{}", response.error());
    assert!(long.len() < MAX_BODY_BYTES);
}

#[tokio::test]
async fn a_server_that_answers_twice_is_killed_and_its_first_answer_stays() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &text("Hi", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.answer(tag, "first").await;
    let response = client.response().await;
    assert_eq!((response.status, &response.json()["choices"][0]["text"]), (200, &json!("first")));
    let kept = receipt(&gateway, tag).await;
    gateway.server.answer(tag, "second").await;
    gateway.link.reaches(Mode::Killed(KillReason::Tag)).await;
    assert_eq!(receipt(&gateway, tag).await, kept);
    let answers = answers(&gateway);
    assert_eq!((answers.len(), answers[0].claim.output_bytes.as_slice()), (1, &b"first"[..]));
    gateway.link.ends_killed(KillReason::Tag).await;
}

#[tokio::test]
async fn a_full_disk_is_said_and_loses_nothing_that_was_acknowledged() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &text("Hi", json!({}))).await;
    let first = gateway.server.generate().await.tag;
    gateway.server.answer(first, "y").await;
    assert_eq!(client.response().await.status, 200);
    let kept = receipt(&gateway, first).await;
    gateway.disk_is_full.store(true, Ordering::SeqCst);
    client.send(&text("Hi", json!({}))).await;
    let second = gateway.server.generate().await.tag;
    gateway.server.answer(second, "z").await;
    // Not given out, since it could not be recorded.
    let response = client.response().await;
    assert_eq!(response.status, 502);
    assert!(response.error().contains("recorded"), "{}", response.error());
    assert_eq!(get(gateway.address, &format!("/v1/receipts/{second:016x}"), "").await.status, 404);
    let refused = exchange(gateway.address, &text("Hi", json!({}))).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    assert!(refused.error().contains("the disk is full"), "{}", refused.error());
    // As it is on the disk now, half a record at its end, with room again.
    let folder = gateway.copied();
    let mut next = Gateway::at(folder.path(), Setup::default()).await.booted().await;
    let answers = answers(&next);
    assert_eq!(answers.iter().map(|answered| answered.tag).collect::<Vec<_>>(), [first]);
    assert_eq!(answers[0].response, *kept.response.as_bytes());
    assert_eq!(next.service.backlog(), 1);
    let mut client = Client::asking(next.address, &text("Hi", json!({}))).await;
    let third = next.server.generate().await.tag;
    assert!(third > second);
    next.server.answer(third, "y").await;
    assert_eq!(client.response().await.status, 200);
}
