//! Egress while recomputers sleep, and while they do not.

use gateway::governor::GovernorPolicy;
use gateway::panel::PanelPolicy;
use protocol::lease::{FromGateway, Outcome};
use serde_json::json;

use super::leases::{Recomputer, answer, counted, fail};
use crate::client::{Client, chat, exchange, get, metric, text};
use crate::fake::{Gateway, Setup};

/// Room for a hundred bytes of text.
const TIGHT: GovernorPolicy =
    GovernorPolicy { cap_bytes_per_s: u64::MAX, unverified_bytes_max: 100, tau_ms: 1 };

fn tight() -> Setup {
    Setup { egress: TIGHT, ..Setup::default() }
}

/// A request for a text that the server writes, and what comes of it.
async fn ask(gateway: &mut Gateway, answer: &str) -> Option<u16> {
    let mut client = Client::asking(gateway.address, &text("Hi", json!({ "max_tokens": 50 }))).await;
    tokio::select! {
        response = client.response() => Some(response.status),
        request = gateway.server.generate() => {
            gateway.server.answer(request.tag, answer).await;
            assert_eq!(client.response().await.status, 200);
            None
        }
    }
}

/// The attack: a server that answers without bound while the recomputer is stalled.
#[tokio::test]
async fn without_verdicts_no_more_leaves_than_the_bound() {
    let mut gateway = Gateway::serving(tight()).await;
    let mut answered = 0;
    let status = loop {
        match ask(&mut gateway, "0123456789").await {
            None => answered += 1,
            Some(status) => break status,
        }
        assert!(answered <= 10, "more than a hundred bytes have left");
    };
    assert_eq!(status, 503);
    // An answer reserves 12 bytes and turns out to have 10.
    assert_eq!(answered, 9);
    let response = exchange(gateway.address, &text("Hi", json!({ "max_tokens": 50 }))).await;
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    assert!(response.error().contains("wait for a check"), "{}", response.error());
    assert_eq!(metric(gateway.address, "maxwell_rejected_total{reason=\"egress\"}").await, 2);
    assert_eq!(metric(gateway.address, "maxwell_unverified_bytes").await, 90);
    let status = get(gateway.address, "/status", "").await.json();
    assert_eq!(status["audit"]["egress"]["unverified_bytes"], json!(90));
    // A refusal takes no tag, and each verdict lets as much leave as it is about.
    let mut recomputer = Recomputer::new(&gateway).await;
    let tag = recomputer.job().await;
    recomputer.done(tag, Outcome::Pass).await;
    assert_eq!(ask(&mut gateway, "0123456789").await, None);
    assert_eq!(ask(&mut gateway, "0123456789").await, Some(503));
    assert_eq!(metric(gateway.address, "maxwell_requests_total").await, 10);
}

/// The near miss: ten times the bound, with a recomputer that keeps up.
#[tokio::test]
async fn a_burst_that_is_checked_is_not_held_up() {
    let mut gateway = Gateway::serving(tight()).await;
    let mut recomputer = Recomputer::new(&gateway).await;
    for number in 0..100 {
        assert_eq!(ask(&mut gateway, "0123456789").await, None, "request {number}");
        // It is three answers behind.
        if number >= 3 {
            let tag = recomputer.job().await;
            recomputer.done(tag, Outcome::Pass).await;
        }
    }
    assert_eq!(metric(gateway.address, "maxwell_egress_waits_total").await, 0);
}

/// A stream in the middle: it waits, and goes on with the next verdict.
#[tokio::test]
async fn a_stream_waits_for_a_verdict_and_loses_nothing() {
    let mut gateway = Gateway::serving(tight()).await;
    assert_eq!(ask(&mut gateway, &"x".repeat(40)).await, None);
    let request = chat("Hi", json!({ "stream": true, "max_tokens": 99 }));
    let client = Client::asking(gateway.address, &request).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.answer(tag, &"y".repeat(80)).await;
    // No more than 60 of the 80 can have left.
    crate::fake::soon("a wait", async {
        while gateway.service.egress_waits() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut recomputer = Recomputer::new(&gateway).await;
    let first = recomputer.job().await;
    recomputer.done(first, Outcome::Pass).await;
    let body = String::from_utf8(client.rest().await).unwrap();
    assert_eq!(body.matches("\"content\":\"y\"").count(), 80, "{body}");
    assert!(body.contains("[DONE]"));
}

/// While a first recomputer's failure is not confirmed, nothing leaves; its denial lets it go on.
#[tokio::test]
async fn an_unconfirmed_failure_holds_everything_back() {
    let names = vec!["first".to_owned(), "second".to_owned()];
    let recomputers = PanelPolicy { names, ..PanelPolicy::single(600_000, 64) };
    let mut gateway = Gateway::serving(Setup { recomputers, ..Setup::default() }).await;
    let tag = answer(&mut gateway).await;
    let (mut first, mut second) = (Recomputer::new(&gateway).await, Recomputer::other(&gateway, 0).await);
    assert_eq!(second.lease().await, Some(FromGateway::Idle));
    first.done(tag, fail(Some(1))).await;
    let response = exchange(gateway.address, &text("Hi", json!({}))).await;
    assert_eq!(response.status, 503);
    let status = get(gateway.address, "/status", "").await.json();
    assert_eq!(status["audit"]["egress"]["is_held"], json!(true));
    assert_eq!(second.job().await, tag);
    second.done(tag, Outcome::Pass).await;
    assert_eq!(ask(&mut gateway, "yes").await, None);
    assert_eq!(counted(&gateway), [0, 0, 1]);
}
