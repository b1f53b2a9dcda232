//! Connections and bodies within their limits, and how they end. Limits are short or never reached; nothing sleeps.

use std::time::Duration;

use gateway::access::Timeouts;
use gateway::body::MAX_BODY_BYTES;
use gateway::listen::Stage;
use serde_json::json;

use crate::client::{CHAT, Client, metric, post, text};
use crate::fake::{FOREVER, Gateway, Setup, soon};

const SHORT: Duration = Duration::from_millis(50);

fn head(length: usize) -> Vec<u8> {
    format!("POST {CHAT} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_length_that_is_too_large_is_refused_before_the_body() {
    let gateway = Gateway::serving(Setup::default()).await;
    // Nothing of the body is sent, and no timeout is near.
    for length in [MAX_BODY_BYTES + 1, 1 << 40] {
        let mut client = Client::asking(gateway.address, &head(length)).await;
        let response = client.response().await;
        assert_eq!((response.status, response.header("connection")), (413, Some("close")));
        assert!(client.maybe_response().await.is_none());
    }
    // A client that asks first is not told to go on.
    let expect = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: gateway\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        MAX_BODY_BYTES + 1
    );
    assert_eq!(Client::asking(gateway.address, expect.as_bytes()).await.response().await.status, 413);
    let expect =
        format!("POST {CHAT} HTTP/1.1\r\nHost: gateway\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let mut client = Client::asking(gateway.address, expect.as_bytes()).await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 100 "));
    client.send(b"{}").await;
    assert_eq!(client.response().await.status, 400);
    assert_eq!(metric(gateway.address, "maxwell_rejected_total{reason=\"body_too_large\"}").await, 3);
}

#[tokio::test]
async fn a_body_that_does_not_come_ends() {
    for (timeouts, says) in [
        (Timeouts { head: FOREVER, body_idle: SHORT, body_total: FOREVER }, "nothing came"),
        (Timeouts { head: FOREVER, body_idle: FOREVER, body_total: SHORT }, "did not come within"),
    ] {
        let gateway = Gateway::serving(Setup { timeouts, ..Setup::default() }).await;
        for body in ["", "{"] {
            let mut client = Client::asking(gateway.address, &[&head(100), body.as_bytes()].concat()).await;
            let response = client.response().await;
            assert_eq!((response.status, response.header("connection")), (408, Some("close")));
            assert!(response.error().contains(says), "{}", response.error());
        }
        // A body without a length, too.
        let chunked =
            format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n");
        assert_eq!(Client::asking(gateway.address, chunked.as_bytes()).await.response().await.status, 408);
        assert_eq!(metric(gateway.address, "maxwell_rejected_total{reason=\"body_late\"}").await, 3);
        // One that comes is read.
        assert_eq!(Client::asking(gateway.address, &post(CHAT, b"{}")).await.response().await.status, 400);
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let timeouts = Timeouts { head: SHORT, body_idle: FOREVER, body_total: FOREVER };
    let gateway = Gateway::serving(Setup { timeouts, ..Setup::default() }).await;
    for start in ["", "G", "GET /health HTTP/1.1\r\n", "GET /health HTTP/1.1\r\nHost: x\r\nA: "] {
        let mut client = Client::asking(gateway.address, start.as_bytes()).await;
        assert!(client.maybe_response().await.is_none(), "{start:?}");
    }
    // A connection that asked may be silent for as long, and no longer.
    let mut client = Client::asking(gateway.address, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    assert!(client.maybe_response().await.is_none());
}

/// The timeout is for the head alone: an answer takes as long as it takes.
#[tokio::test]
async fn a_long_answer_is_not_cut() {
    let timeouts = Timeouts { head: SHORT, body_idle: SHORT, body_total: SHORT };
    let mut gateway = Gateway::serving(Setup { timeouts, ..Setup::default() }).await;
    let mut client = Client::asking(gateway.address, &text("x", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    // Another connection is cut meanwhile, so that the time has passed.
    let mut other = Client::new(gateway.address).await;
    assert!(other.maybe_response().await.is_none());
    gateway.server.answer(tag, "y").await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let gateway = Gateway::serving(Setup { connections_max: 2, ..Setup::default() }).await;
    let health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut one = Client::asking(gateway.address, health).await;
    assert_eq!(one.response().await.status, 200);
    let mut other = Client::asking(gateway.address, health).await;
    assert_eq!(other.response().await.status, 200);
    let response = Client::new(gateway.address).await.response().await;
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    assert!(response.error().contains("too many connections"));
    // Those that are there go on, and a place that is given back is taken.
    one.send(health).await;
    assert_eq!(one.response().await.status, 200);
    drop(other);
    loop {
        let mut client = Client::asking(gateway.address, health).await;
        if client.maybe_response().await.is_some_and(|response| response.status == 200) {
            break;
        }
    }
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_takes_nothing_more() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut idle = Client::asking(gateway.address, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(idle.response().await.status, 200);
    let mut client = Client::asking(gateway.address, &text("x", json!({ "stream": true }))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.stage.send(Stage::Drain).unwrap();
    // The idle connection is closed at once.
    assert!(idle.maybe_response().await.is_none());
    gateway.server.answer(tag, "y").await;
    let response = client.response().await;
    assert_eq!((response.status, response.whole), (200, true));
    soon("the end of the last connection", &mut gateway.listening).await.unwrap();
    assert!(tokio::net::TcpStream::connect(gateway.address).await.is_err());
    soon("the last record", gateway.service.finish_answers()).await;
    assert!(
        matches!(gateway.records().last(), Some(gateway::record::Record::Answered(answered)) if answered.tag == tag)
    );
}

#[tokio::test]
async fn a_drain_that_is_over_cuts_what_runs_and_records_it() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let mut client = Client::asking(gateway.address, &text("x", json!({ "stream": true }))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.tokens(tag, &[b'y'.into()]).await;
    client.head().await.unwrap();
    client.chunk().await.unwrap();
    gateway.stage.send(Stage::Closed).unwrap();
    assert!(client.chunk().await.is_none(), "no gap is followed by a proper end");
    assert_eq!(gateway.server.cancelled().await, tag);
    soon("the listener's end", &mut gateway.listening).await.unwrap();
    soon("the last record", gateway.service.finish_answers()).await;
    let records = gateway.records();
    let Some(gateway::record::Record::Answered(answered)) = records.last() else {
        unreachable!("{records:?}")
    };
    assert_eq!(
        (answered.claim.output_ids.as_slice(), answered.claim.finish),
        (&[u32::from(b'y')][..], protocol::FinishReason::ReaderLeft)
    );
}
