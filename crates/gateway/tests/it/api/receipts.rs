//! Receipts: what they say is what the client got, byte by byte, however the answer ended.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::sync::atomic::Ordering;

use gateway::access::Client as Asking;
use gateway::history::History;
use gateway::openai::Wanted;
use gateway::panel::PanelPolicy;
use gateway::record::Record;
use gateway::sampling_audit::audit_log;
use gateway::server_link::Command;
use gateway::service::Body;
use gateway::state::{KillReason, Mode};
use protocol::link::{FromServer, ToServer};
use protocol::receipt::{FinishCode, Receipt, ReceiptMode, request_digest, response_digest};
use protocol::seed::derive_seed;
use protocol::{Claim, FinishReason};
use serde_json::json;

use crate::client::{Client, Response, chat, events, exchange, get, text};
use crate::fake::{END, FakeServer, Gateway, Setup, chat_ids, fingerprint, ids, soon};

/// The receipt of a request, as soon as there is one.
pub(super) async fn receipt(gateway: &Gateway, tag: u64) -> Receipt {
    let path = format!("/v1/receipts/{tag:016x}");
    let waiting = async {
        loop {
            let response = get(gateway.address, &path, "").await;
            match response.status {
                202 => assert_eq!(response.header("retry-after"), Some("1")),
                status => {
                    assert_eq!((status, response.header("content-type")), (200, Some("application/cose")));
                    break response.body;
                }
            }
        }
    };
    let bytes = soon("a receipt", waiting).await;
    let receipt = Receipt::verify(&bytes, &gateway.service.verifying_key()).unwrap();
    let view = get(gateway.address, &path, "Accept: application/json\r\n").await;
    assert_eq!((view.status, view.json()), (200, receipt.to_json()));
    assert_eq!(receipt.tag.counter, tag);
    receipt
}

/// The claim that a recomputer gets for the only answer.
async fn leased(gateway: &Gateway, tag: u64) -> Claim {
    // The job is there before the receipt is.
    receipt(gateway, tag).await;
    let (leased, claim) = gateway.service.lease(0).unwrap();
    assert_eq!((leased, gateway.service.lease(0)), (tag, None));
    Claim::decode(&claim).unwrap()
}

#[track_caller]
fn check_response(receipt: &Receipt, response: &Response) {
    assert_eq!(receipt.response, response_digest(&response.body));
}

#[tokio::test]
async fn a_receipt_is_of_exactly_the_bytes_that_came() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    for stream in [false, true] {
        let fields = json!({ "stream": stream, "seed": 4, "stream_options": { "include_usage": stream } });
        let mut client = Client::asking(gateway.address, &chat("Hi", fields)).await;
        let request = gateway.server.generate().await;
        let before = get(gateway.address, &format!("/v1/receipts/{:016x}", request.tag), "").await;
        assert_eq!(before.status, 202);
        gateway.server.answer(request.tag, "H\u{e9}llo").await;
        let response = client.response().await;
        let receipt = receipt(&gateway, response.tag()).await;
        check_response(&receipt, &response);
        let digest =
            request_digest(&request.prompt_ids, &request.settings, &request.client_seed, &request.nonce);
        let entry = gateway.service.entry().entry();
        assert_eq!((receipt.request, receipt.tag.nonce), (digest, request.nonce));
        assert_eq!((receipt.model, receipt.template), (entry.model, entry.template));
        assert_eq!((receipt.prompt_tokens, receipt.output_tokens), (20, 7));
        assert_eq!((receipt.finish, receipt.mode), (FinishCode::EndToken, ReceiptMode::Exact));
        let claim = leased(&gateway, request.tag).await;
        assert_eq!(receipt.claim, Some(claim.digest()));
        assert_eq!(claim.prompt_ids, chat_ids("user", "Hi"));
        assert_eq!(claim.output_ids, [ids("H\u{e9}llo"), vec![END]].concat());
        assert_eq!(claim.output_bytes, "H\u{e9}llo".as_bytes());
        assert_eq!(claim.fingerprints, vec![fingerprint(); 7]);
        assert_eq!(claim.seed, derive_seed(&request.nonce, &request.client_seed));
        assert_eq!(claim.contradiction(), None);
        let service = gateway.service.clone();
        let pass = protocol::lease::Outcome::Pass;
        tokio::task::spawn_blocking(move || service.judged(0, request.tag, &pass)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_receipt_of_a_whole_answer_is_there_with_it() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &text("Hi", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.answer(tag, "y").await;
    client.response().await;
    let receipt = get(gateway.address, &format!("/v1/receipts/{tag:016x}"), "").await;
    assert_eq!(receipt.status, 200);
    let receipt = Receipt::verify(&receipt.body, &gateway.service.verifying_key()).unwrap();
    assert_eq!(receipt.template, None);
}

#[tokio::test]
async fn names_of_receipts() {
    let gateway = Gateway::serving(Setup::default()).await;
    assert_eq!(get(gateway.address, "/v1/receipts/0000000000000007", "").await.status, 404);
    for name in ["x", "7", "+000000000000007", "00000000000000007", "-1", "%30"] {
        let response = get(gateway.address, &format!("/v1/receipts/{name}"), "").await;
        assert_eq!(response.status, 400, "{name}");
    }
}

#[tokio::test]
async fn a_stop_sequence_is_a_receipt_too() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client =
        Client::asking(gateway.address, &text("Hi", json!({ "stop": "c", "stream": true }))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.tokens(tag, &ids("xbcd")).await;
    assert_eq!(gateway.server.cancelled().await, tag);
    let response = client.response().await;
    assert_eq!(response.events().last(), Some(&serde_json::Value::Null));
    let receipt = receipt(&gateway, tag).await;
    check_response(&receipt, &response);
    assert_eq!((receipt.finish, receipt.output_tokens), (FinishCode::ReaderLeft, 3));
}

#[tokio::test]
async fn a_client_that_leaves_is_recorded_and_leased() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &text("Hi", json!({ "stream": true }))).await;
    let tag = gateway.server.generate().await.tag;
    client.head().await.unwrap();
    let mut body = Vec::new();
    for letter in ["x", "y", "z"] {
        gateway.server.tokens(tag, &ids(letter)).await;
        body.extend(client.chunk().await.unwrap());
    }
    drop(client);
    assert_eq!(gateway.server.cancelled().await, tag);
    gateway.server.tokens(tag, &ids("w")).await;
    gateway.server.finish(tag, FinishReason::ReaderLeft).await;
    let receipt = receipt(&gateway, tag).await;
    assert_eq!((receipt.finish, receipt.output_tokens), (FinishCode::ReaderLeft, 3));
    assert_eq!(receipt.response, response_digest(&body));
    let claim = leased(&gateway, tag).await;
    assert_eq!((claim.finish, claim.output_ids), (FinishReason::ReaderLeft, ids("xyz")));
}

#[tokio::test]
async fn a_client_that_leaves_before_a_word_has_no_receipt_and_a_record() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut expected = Vec::new();
    for stream in [false, true] {
        let request = text("Hi", json!({ "stream": stream }));
        let client = Client::asking(gateway.address, &request).await;
        let tag = gateway.server.generate().await.tag;
        drop(client);
        assert_eq!(gateway.server.cancelled().await, tag);
        gateway.server.finish(tag, FinishReason::ReaderLeft).await;
        let gone = async {
            while get(gateway.address, &format!("/v1/receipts/{tag:016x}"), "").await.status == 202 {}
        };
        soon("the end of the request", gone).await;
        assert_eq!(get(gateway.address, &format!("/v1/receipts/{tag:016x}"), "").await.status, 404);
        expected.push((tag, "reader_left".to_owned()));
    }
    assert_eq!((gateway.service.lease(0), dropped(&gateway)), (None, expected));
}

/// Requests without an answer, as the log has them.
fn dropped(gateway: &Gateway) -> Vec<(u64, String)> {
    let dropped = |record| {
        let Record::Dropped(dropped) = record else { return None };
        Some((dropped.tag, dropped.reason))
    };
    gateway.records().into_iter().filter_map(dropped).collect()
}

/// Tags of answers, as the log has them.
fn answered(gateway: &Gateway) -> Vec<u64> {
    let answered = |record| {
        let Record::Answered(answered) = record else { return None };
        Some(answered.tag)
    };
    gateway.records().into_iter().filter_map(answered).collect()
}

#[tokio::test]
async fn a_record_of_no_answer_says_what_was_asked_and_what_the_client_got() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &chat("Hi", json!({ "stream": true }))).await;
    let asked = gateway.server.generate().await;
    gateway.server.say(FromServer::Refused { tag: asked.tag }).await;
    let response = client.response().await;
    assert!(response.events()[1]["error"]["message"].as_str().unwrap().contains("no room"));
    soon("the record", gateway.service.finish_answers()).await;
    let records = gateway.records();
    let Some(Record::Dropped(dropped)) = records.last() else { unreachable!("{records:?}") };
    let request = request_digest(&asked.prompt_ids, &asked.settings, &asked.client_seed, &asked.nonce);
    assert_eq!((dropped.tag, dropped.reason.as_str()), (asked.tag, "no_room"));
    assert_eq!(dropped.request, *request.as_bytes());
    assert_eq!(dropped.response, *response_digest(&response.body).as_bytes());
}

/// Clients that leave at any moment, a server that refuses some, and one that is killed in the end.
#[tokio::test]
async fn every_tag_ends_in_the_log_and_once() {
    const CLIENTS: usize = 120;
    let setup =
        Setup { in_flight_max: CLIENTS, recomputers: PanelPolicy::single(600_000, 1000), ..Setup::default() };
    let mut gateway = Gateway::serving(setup).await;
    println!("seed 5");
    let mut random = 5;
    let mut load = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let (address, yields) = (gateway.address, crate::crash::splitmix(&mut random) % 1000);
        load.spawn(async move {
            let mut client = Client::asking(address, &text("Hi", json!({ "stream": number % 2 == 0 }))).await;
            let leaving = async {
                // One half is patient.
                for _ in 0..if number % 4 < 2 { yields } else { u64::MAX } {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                response = client.maybe_response() => drop(response),
                () = leaving => {}
            }
        });
    }
    let mut server = std::mem::replace(&mut gateway.server, FakeServer::nowhere());
    let serving = tokio::spawn(async move {
        let mut served: u64 = 0;
        while let Some(message) = server.next().await {
            let ToServer::Generate { tag, .. } = message else { continue };
            served += 1;
            match served % 4 {
                0 => server.say(FromServer::Refused { tag }).await,
                1 => server.tokens(tag, &ids("x")).await,
                _ => server.answer(tag, "yes").await,
            }
        }
    });
    // Patient ones that have a token and no end wait for it; the kill cuts them.
    for _ in 0..CLIENTS / 2 {
        soon("the end of a client", load.join_next()).await.unwrap().unwrap();
    }
    gateway.link.commands.send(Command::Kill(KillReason::Operator)).await.unwrap();
    gateway.link.reaches(Mode::Killed(KillReason::Operator)).await;
    while let Some(ended) = soon("the end of a client", load.join_next()).await {
        ended.unwrap();
    }
    serving.await.unwrap();
    soon("the last record", gateway.service.finish_answers()).await;
    let requests = gateway.service.counters.requests.load(Ordering::Relaxed);
    let mut tags: Vec<u64> = dropped(&gateway).into_iter().map(|(tag, _)| tag).collect();
    tags.extend(answered(&gateway));
    tags.sort_unstable();
    let first = tags[0];
    assert_eq!(tags, (first..first + requests).collect::<Vec<_>>());
    let mut history = History::new();
    (0..).zip(gateway.records()).for_each(|(at, record)| history.add(at, &record));
    assert_eq!(audit_log(&history, &gateway.service.verifying_key(), true).unaccounted, 0);
    let answers = gateway.service.counters.answers.load(Ordering::Relaxed);
    println!("{requests} requests, {answers} answers, {} without one", requests - answers);
    assert!(answers > 0 && answers < requests);
}

#[tokio::test]
async fn a_stream_that_is_cut_by_a_kill_says_so() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &text("Hi", json!({ "stream": true }))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.tokens(tag, &ids("xy")).await;
    gateway.server.tokens(tag, &[u32::MAX]).await;
    let response = client.response().await;
    let events = response.events();
    let message = events[2]["error"]["message"].as_str().unwrap();
    assert!(message.contains("vocabulary") && events.len() == 3, "{events:?}");
    let receipt = receipt(&gateway, tag).await;
    check_response(&receipt, &response);
    assert_eq!(receipt.output_tokens, 2);
    assert_eq!(leased(&gateway, tag).await.output_ids, ids("xy"));
    gateway.link.ends_killed(KillReason::Vocabulary).await;
}

#[tokio::test]
async fn a_whole_answer_that_is_cut_by_a_kill_is_an_error() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &text("Hi", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.tokens(tag, &ids("xy")).await;
    gateway.server.finish(tag + 1, FinishReason::EndToken).await;
    let response = client.response().await;
    assert_eq!((response.status, response.tag()), (502, tag));
    assert!(response.error().contains("tag"));
    let receipt = receipt(&gateway, tag).await;
    check_response(&receipt, &response);
    // No claim about a whole answer: the server never came to an end.
    assert_eq!((receipt.finish, receipt.claim), (FinishCode::Failed, None));
    // What came is recomputed all the same.
    assert_eq!(leased(&gateway, tag).await.output_ids, ids("xy"));
    gateway.link.ends_killed(KillReason::Tag).await;
}

#[tokio::test]
async fn a_kill_before_a_word_has_no_receipt_and_a_record() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &text("Hi", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.write(&[0xff; 4]).await;
    assert_eq!(client.response().await.status, 502);
    assert_eq!(get(gateway.address, &format!("/v1/receipts/{tag:016x}"), "").await.status, 404);
    assert_eq!(dropped(&gateway), [(tag, "server_killed".to_owned())]);
    gateway.link.ends_killed(KillReason::Message).await;
}

/// Through the service, since the sockets between would hold more than a whole answer.
#[tokio::test]
async fn a_client_that_takes_nothing_is_taken_to_have_left() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let wanted = Wanted::parse(br#"{"model":"tiny","prompt":"Hi","stream":true}"#, false).unwrap();
    let reserved = gateway.access.reserve(Asking::Anybody, 0).unwrap();
    let started = gateway.service.ask(wanted, ids("Hi"), false, reserved, None).await.unwrap();
    let Body::Stream(mut pieces) = started.body else { unreachable!("a stream was asked for") };
    let tag = gateway.server.generate().await.tag;
    assert_eq!(tag, started.tag);
    gateway.server.tokens(tag, &ids(&"x".repeat(100))).await;
    tokio::time::pause();
    while gateway.server.read().await != Some(ToServer::Cancel { tag }) {}
    tokio::time::resume();
    // It wakes up too late: what it gets is the beginning, and does not look like all of it.
    let mut body = Vec::new();
    while let Some(piece) = soon("a piece, or the end", pieces.recv()).await {
        body.extend(piece);
    }
    assert!(events(&body).len() < 100);
    assert!(
        events(&body).iter().all(|event| event["choices"][0]["finish_reason"].is_null() && event.is_object())
    );
    let receipt = receipt(&gateway, tag).await;
    assert_eq!((receipt.finish, receipt.response), (FinishCode::ReaderLeft, response_digest(&body)));
}

#[tokio::test]
async fn a_client_that_reads_late_gets_all() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &text("Hi", json!({ "stream": true }))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.answer(tag, &"x".repeat(200)).await;
    let receipt = receipt(&gateway, tag).await;
    let response = client.response().await;
    assert_eq!(response.events().len(), 202);
    check_response(&receipt, &response);
}

#[tokio::test]
async fn without_a_log_there_is_no_receipt_and_no_next_request() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &text("Hi", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.disk_is_broken.store(true, Ordering::SeqCst);
    gateway.server.answer(tag, "y").await;
    let response = client.response().await;
    assert_eq!(response.status, 502);
    assert!(response.error().contains("recorded"), "{}", response.error());
    assert_eq!(get(gateway.address, &format!("/v1/receipts/{tag:016x}"), "").await.status, 404);
    assert_eq!(gateway.service.lease(0), None);
    // Not even once the disk is back: what it kept is not known.
    gateway.disk_is_broken.store(false, Ordering::SeqCst);
    let refused = exchange(gateway.address, &text("Hi", json!({}))).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    assert!(refused.error().contains("log"));
}
