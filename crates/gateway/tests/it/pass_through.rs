//! Pass-through in front of an upstream that sends exactly the bytes that a test gives, honest or not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::access::{Access, AccessRules, Timeouts};
use gateway::limits::Rates;
use gateway::listen::{self, Stage};
use gateway::log::Log;
use gateway::pass_through::{NO_ENGINE, PassThrough, PassThroughConfig, router};
use gateway::record::{Passed, Record};
use gateway::sampling::{AuditPolicy, PPB, audit_key_commitment};
use gateway::store::{Store, StoreKey, StoreOptions};
use protocol::lease::Outcome;
use protocol::receipt::{FinishCode, ReceiptMode, ResponseHasher, passed_request_digest};
use protocol::{Receipt, SigningKey};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::client::{CHAT, Client, Response, exchange, get, post, post_with};
use crate::fake::{api_keys, soon};
use crate::lines::Lines;

const STORE: StoreOptions =
    StoreOptions { segment_bytes: 1 << 20, segments_max: 4, pending_bytes_max: 1 << 20 };
const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// What an upstream does once it has read a request.
#[derive(Clone)]
enum Then {
    /// Sends this and closes.
    Close(Vec<u8>),
    /// Sends this and waits until the gateway leaves.
    Hang(Vec<u8>),
}

/// The gateway, its upstream, and what that one read.
struct Passing {
    address: SocketAddr,
    pass: Arc<PassThrough>,
    stage: watch::Sender<Stage>,
    listening: JoinHandle<()>,
    requests: mpsc::UnboundedReceiver<Vec<u8>>,
    /// One message for each connection that the gateway left.
    left: mpsc::UnboundedReceiver<()>,
    folder: TempDir,
}

impl Passing {
    async fn new(then: Then, rules: AccessRules) -> Self {
        Self::patient(then, rules, Duration::from_millis(300)).await
    }

    /// Waits so long for the upstream.
    async fn patient(then: Then, rules: AccessRules, within: Duration) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = PassThroughConfig {
            upstream: upstream.local_addr().unwrap(),
            key: SigningKey::from_seed([1; 32]),
            seed_key: [2; 32],
            audit_key: [3; 32],
            policy: AuditPolicy { rate_ppb: PPB / 2, floor_ppb: PPB / 2 },
            in_flight_max: 4,
            head_within: within,
            idle_within: within,
        };
        let (read, requests) = mpsc::unbounded_channel();
        let (gone, left) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = upstream.accept().await {
                let (then, read, gone) = (then.clone(), read.clone(), gone.clone());
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !is_whole(&request) {
                        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                    }
                    let _ = read.send(request);
                    let (Then::Close(bytes) | Then::Hang(bytes)) = &then;
                    let _ = stream.write_all(bytes).await;
                    if matches!(then, Then::Hang(_)) {
                        while stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
                        let _ = gone.send(());
                    }
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), &StoreKey::from_bytes([5; 32]), STORE).unwrap().0;
        let access = Access::new(rules);
        let under = Arc::clone(&access);
        let start = move || PassThrough::start(config, Log::new(store).unwrap(), under).unwrap();
        let pass = tokio::task::spawn_blocking(start).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stage, stages) = watch::channel(Stage::Open);
        let routes = router(Arc::clone(&pass));
        let listening = tokio::spawn(listen::serve(listener, routes, Arc::clone(&pass), access, 16, stages));
        Self { address, pass, stage, listening, requests, left, folder }
    }

    async fn open(then: Then) -> Self {
        Self::new(then, AccessRules::default()).await
    }

    /// Ends the gateway and gives what it wrote down about answers.
    async fn end(self) -> Vec<Passed> {
        self.stage.send_replace(Stage::Closed);
        soon("the end of the connections", self.listening).await.unwrap();
        soon("the end of the log", self.pass.end()).await.unwrap();
        let store = Store::open(self.folder.path(), &StoreKey::from_bytes([5; 32]), STORE).unwrap().0;
        let stored = store.iter_from(store.oldest()).map(Result::unwrap);
        let mut records: Vec<Record> =
            stored.map(|stored| Record::decode(stored.kind, &stored.content).unwrap()).collect();
        assert_eq!(records.pop(), Some(Record::Revealed { epoch: 0, audit_key: [3; 32] }));
        let Record::PassBegan { audit_key, .. } = records.remove(0) else { unreachable!("no beginning") };
        assert_eq!(audit_key, audit_key_commitment(&[3; 32]));
        let (mut all, mut undecided) = (Vec::new(), BTreeSet::new());
        for record in records {
            if let Record::Passed(passed) = record {
                all.push(*passed);
            } else if let Record::Judged { tag, outcome } = record {
                assert_eq!(outcome, Outcome::Unverifiable { missing: NO_ENGINE.to_owned() });
                assert!(undecided.insert(tag), "{tag:x} has two verdicts");
            } else {
                unreachable!("{record:?}");
            }
        }
        let picked: BTreeSet<u64> =
            all.iter().filter(|passed| passed.picked).map(|passed| passed.tag).collect();
        assert_eq!(picked, undecided, "what is picked is undecided, and nothing else has a verdict");
        all
    }

    async fn receipt(&self, tag: u64) -> Receipt {
        loop {
            let response = get(self.address, &format!("/v1/receipts/{tag:016x}"), "").await;
            if response.status != 202 {
                assert_eq!(response.status, 200);
                let key = SigningKey::from_seed([1; 32]).verifying_key();
                return Receipt::verify(&response.body, &key).unwrap();
            }
        }
    }
}

/// Whether a request with a length has come to its end.
fn is_whole(request: &[u8]) -> bool {
    let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8(request[..at].to_vec()).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    request.len() == at + 4 + length.map_or(0, |length| length.parse().unwrap())
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-theirs: kept\r\nx-maxwell-receipt: forged\r\n\
         keep-alive: 5\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn chunked(pieces: &[&str]) -> Vec<u8> {
    let chunks: Vec<String> =
        pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
    format!("{SSE}{}", chunks.concat()).into_bytes()
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = ResponseHasher::new();
    hasher.update(bytes);
    *hasher.digest().as_bytes()
}

#[tokio::test]
async fn bytes_pass_as_they_are_and_the_receipt_is_about_them() {
    // Neither body is what a gateway that reads JSON would write.
    let (question, answer) =
        (b"{ \"model\":\"m\",\"m\\u006fdel\": 1,  \"unknown\":[] }", b"{\"a\" : 1 ,\"a\":\xff}");
    let mut passing = Passing::open(Then::Close(with_length(answer))).await;
    let lines = "x-mine: kept\r\nconnection: x-hop\r\nx-hop: gone\r\nte: trailers\r\n";
    let response = exchange(passing.address, &post_with("/v1/anything?x=1", lines, question)).await;
    assert_eq!((response.status, response.body.as_slice()), (200, answer.as_slice()));
    assert_eq!((response.header("x-theirs"), response.header("keep-alive")), (Some("kept"), None));
    let read = passing.requests.recv().await.unwrap();
    assert!(read.starts_with(b"POST /v1/anything?x=1 HTTP/1.1\r\n") && read.ends_with(question));
    let head = String::from_utf8_lossy(&read).to_lowercase();
    assert!(head.contains("\r\nx-mine: kept\r\n"), "{head}");
    assert!(!head.contains("x-hop") && !head.contains("\r\nte:"), "{head}");
    let receipt = passing.receipt(response.tag()).await;
    assert_eq!((receipt.mode, receipt.finish), (ReceiptMode::PassThrough, FinishCode::Delivered));
    assert_eq!((receipt.claim, receipt.response.as_bytes()), (None, &digest(answer)));
    let asked = passed_request_digest("POST", "/v1/anything?x=1", question, &receipt.tag.nonce);
    assert_eq!(receipt.request, asked);
    let [passed] = &passing.end().await[..] else { unreachable!("one record") };
    assert_eq!((passed.response, passed.finish.as_str()), (digest(answer), "delivered"));
    assert_eq!((passed.request_bytes, passed.response_bytes), (question.len() as u64, answer.len() as u64));
}

/// Streams these pieces, and expects them with this finish and flaw in the record.
async fn check_stream(then: Then, pieces: &[&str], is_whole: bool, finish: &str, flaw: Option<&str>) {
    let passing = Passing::open(then).await;
    let response = exchange(passing.address, &post(CHAT, b"{}")).await;
    assert_eq!((response.status, response.whole), (200, is_whole));
    assert_eq!(response.body, pieces.concat().as_bytes());
    let [passed] = &passing.end().await[..] else { unreachable!("one record") };
    assert_eq!((passed.finish.as_str(), passed.flaw.as_deref()), (finish, flaw));
    assert_eq!(passed.response, digest(pieces.concat().as_bytes()));
}

#[tokio::test]
async fn streams_pass_and_their_flaws_are_written_down() {
    let whole = ["data: {}\n", "\ndata: [DONE]\n\n"];
    let ended = |pieces: &[&str]| Then::Close([chunked(pieces), b"0\r\n\r\n".to_vec()].concat());
    check_stream(ended(&whole), &whole, true, "delivered", None).await;
    let no_event = ["no event\n\n"];
    check_stream(ended(&no_event), &no_event, true, "delivered", Some("sse_unknown_field")).await;
    check_stream(ended(&whole[..1]), &whole[..1], true, "delivered", Some("sse_cut")).await;
    // The upstream breaks off, or falls silent: the client must see that the answer is cut.
    check_stream(Then::Close(chunked(&whole[..1])), &whole[..1], false, "failed", Some("sse_cut")).await;
    check_stream(Then::Hang(chunked(&whole[..1])), &whole[..1], false, "failed", Some("sse_cut")).await;
}

async fn answer(then: Then) -> (Response, Vec<Passed>) {
    let passing = Passing::open(then).await;
    let response = exchange(passing.address, &post(CHAT, b"{}")).await;
    (response, passing.end().await)
}

#[tokio::test]
async fn an_upstream_that_lies_about_lengths_or_hangs_is_recorded_as_failed() {
    for (then, status) in [
        (Then::Hang(Vec::new()), 504),
        (Then::Close(Vec::new()), 502),
        (Then::Close(b"nonsense\r\n\r\n".to_vec()), 502),
        (Then::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec()), 502),
    ] {
        let (response, passed) = answer(then).await;
        assert_eq!((response.status, passed.len()), (status, 1), "{response:?}");
        assert_eq!((passed[0].finish.as_str(), passed[0].response_bytes), ("failed", 0));
    }
    // Longer than what comes.
    let long = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab".to_vec();
    let passing = Passing::open(Then::Close(long)).await;
    let mut client = Client::asking(passing.address, &post(CHAT, b"{}")).await;
    assert!(client.head().await.unwrap().contains("content-length: 9\r\n"));
    assert_eq!(client.rest().await, b"ab");
    let passed = passing.end().await;
    assert_eq!((passed[0].finish.as_str(), passed[0].response), ("failed", digest(b"ab")));
}

#[tokio::test]
async fn a_second_answer_reaches_nobody() {
    let twice = [with_length(b"first"), with_length(b"second")].concat();
    let passing = Passing::open(Then::Hang(twice)).await;
    let mut client = Client::new(passing.address).await;
    for _ in 0..3 {
        client.send(&post(CHAT, b"{}").replace_close()).await;
        assert_eq!(client.response().await.body, b"first");
    }
    assert_eq!(passing.end().await.len(), 3);
}

/// A request after which the connection stays.
trait KeepAlive {
    fn replace_close(&self) -> Vec<u8>;
}

impl KeepAlive for Vec<u8> {
    fn replace_close(&self) -> Vec<u8> {
        String::from_utf8(self.clone()).unwrap().replace("connection: close\r\n", "").into_bytes()
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_upstreams_work() {
    let mut passing = Passing::open(Then::Hang(chunked(&["data: {}\n\n"]))).await;
    let mut client = Client::asking(passing.address, &post(CHAT, b"{}")).await;
    client.head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap(), b"data: {}\n\n");
    drop(client);
    soon("the upstream's end", passing.left.recv()).await.unwrap();
    let [passed] = &passing.end().await[..] else { unreachable!("one record") };
    assert_eq!((passed.finish.as_str(), passed.response), ("reader_left", digest(b"data: {}\n\n")));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_written_down() {
    let within = Duration::from_secs(600);
    // Before the upstream says anything, and within the head of its answer.
    for said in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let then = Then::Hang(said.as_bytes().to_vec());
        let mut passing = Passing::patient(then, AccessRules::default(), within).await;
        let client = Client::asking(passing.address, &post(CHAT, b"{}")).await;
        passing.requests.recv().await.unwrap();
        drop(client);
        soon("the upstream's end", passing.left.recv()).await.unwrap();
        let [passed] = &passing.end().await[..] else { unreachable!("one record") };
        assert_eq!((passed.finish.as_str(), passed.response_bytes), ("reader_left", 0));
        assert_eq!((passed.request_bytes, passed.response), (2, digest(b"")));
    }
}

#[tokio::test]
async fn ten_megabytes_pass_in_both_directions() {
    let body: Vec<u8> = (0..10_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut passing = Passing::open(Then::Close(with_length(&body))).await;
    let response = exchange(passing.address, &post(CHAT, &body)).await;
    assert!(response.body == body);
    assert!(passing.requests.recv().await.unwrap().ends_with(&body));
    assert_eq!(passing.end().await[0].response, digest(&body));
}

#[tokio::test]
async fn keys_stay_here_and_limits_hold() {
    let limits = Rates { requests_per_minute: std::num::NonZeroU32::new(2), ..Rates::default() };
    let rules = AccessRules {
        keys: Some(api_keys(&[("alice", limits)])),
        rates: Rates::default(),
        timeouts: Timeouts::default(),
    };
    let mut passing = Passing::new(Then::Close(with_length(b"{}")), rules).await;
    assert_eq!(exchange(passing.address, &post(CHAT, b"{}")).await.status, 401);
    let asked = post_with(CHAT, "authorization: Bearer alicealice\r\n", b"{}");
    let statuses = [200, 200, 429];
    for status in statuses {
        assert_eq!(exchange(passing.address, &asked).await.status, status);
    }
    let read = String::from_utf8(passing.requests.recv().await.unwrap()).unwrap();
    assert!(!read.contains("alicealice") && !read.to_lowercase().contains("authorization"), "{read}");
    assert_eq!(passing.end().await.len(), 2);
}

#[tokio::test]
async fn smuggling_is_refused() {
    let mut passing = Passing::open(Then::Close(with_length(b"{}"))).await;
    for lines in ["content-length: 4\r\ncontent-length: 5\r\n", "transfer-encoding: x\r\n"] {
        let request = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\nabcdef");
        assert_eq!(exchange(passing.address, request.as_bytes()).await.status, 400, "{lines}");
    }
    assert!(passing.requests.try_recv().is_err());
    assert!(passing.end().await.is_empty());
}

#[tokio::test]
async fn each_request_has_one_line_and_no_word_of_it() {
    let lines = Lines::default();
    let _guard = lines.collect();
    let passing = Passing::open(Then::Close(with_length(b"SECRETANSWER"))).await;
    let response = exchange(passing.address, &post("/v1/SECRETPATH", b"SECRETPROMPT")).await;
    let tag = response.header("x-maxwell-receipt").unwrap().to_owned();
    let too_long = format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n");
    assert_eq!(exchange(passing.address, too_long.as_bytes()).await.status, 413);
    assert_eq!(passing.end().await.len(), 1);
    let passed = json!({ "message": "passed through", "tag": tag, "request_bytes": 12, "bytes": 12, "finish": "delivered" });
    let refused = json!({ "message": "refused", "status": 413, "reason": "body_too_large" });
    let found = lines.requests();
    assert!(found.len() == 2 && found.contains(&passed) && found.contains(&refused), "{found:?}");
    assert!(!lines.text().contains("SECRET"), "{}", lines.text());
}

/// Half of all answers are picked here: of sixty both kinds are there.
#[tokio::test]
async fn a_picked_answer_is_undecided_and_monitors_see_it() {
    let passing = Passing::open(Then::Close(with_length(b"{}"))).await;
    for number in 0..60 {
        let question = format!("{{\"number\":{number}}}");
        let response = exchange(passing.address, &post(CHAT, question.as_bytes())).await;
        assert_eq!(response.status, 200);
        // Its place is free when its receipt is there.
        passing.receipt(response.tag()).await;
    }
    // An answer is counted when it is written down, which may be after its client has it.
    let status = loop {
        let response = get(passing.address, "/status", "").await;
        let status: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        if status["answers"] == 60 {
            break status;
        }
    };
    assert_eq!((&status["mode"], &status["requests"]), (&json!("pass-through"), &json!(60)));
    let page = String::from_utf8(get(passing.address, "/metrics", "").await.body).unwrap();
    let sampled = status["sampled"].as_u64().unwrap();
    assert!(page.contains(&format!("\nmaxwell_recomputed_unverifiable_total {sampled}\n")), "{page}");
    assert!(page.contains("maxwell_rejected_total{reason=\"api_key\"} 0\n"), "{page}");
    let passed = passing.end().await;
    let picked = passed.iter().filter(|passed| passed.picked).count() as u64;
    assert_eq!((status["undecided"].as_u64(), sampled), (Some(picked), picked));
    assert!((1..60).contains(&picked), "{picked} of 60");
}

fn keyed(path: &str, key: &str, body: &[u8]) -> Vec<u8> {
    post_with(path, &format!("idempotency-key: {key}\r\n"), body)
}

#[tokio::test]
async fn a_retry_with_its_key_gets_the_same_answer_and_receipt() {
    let stream = [chunked(&["data: {}\n\n", "data: [DONE]\n\n"]), b"0\r\n\r\n".to_vec()].concat();
    for answer in [with_length(b"{\"a\":1}"), stream] {
        let mut passing = Passing::open(Then::Close(answer)).await;
        let first = exchange(passing.address, &keyed(CHAT, "k1", b"{}")).await;
        passing.receipt(first.tag()).await;
        let again = exchange(passing.address, &keyed(CHAT, "k1", b"{}")).await;
        assert_eq!((again.status, &again.body, again.tag()), (200, &first.body, first.tag()));
        assert_eq!(again.header("content-type"), first.header("content-type"));
        assert_eq!(
            (first.header("idempotency-replayed"), again.header("idempotency-replayed")),
            (None, Some("true"))
        );
        // Another body or path with the same key is a mistake; another key, or none, is another request.
        assert_eq!(exchange(passing.address, &keyed(CHAT, "k1", b"{ }")).await.status, 422);
        assert_eq!(exchange(passing.address, &keyed("/v1/other", "k1", b"{}")).await.status, 422);
        assert_ne!(exchange(passing.address, &keyed(CHAT, "k2", b"{}")).await.tag(), first.tag());
        assert_ne!(exchange(passing.address, &post(CHAT, b"{}")).await.tag(), first.tag());
        let read = String::from_utf8(passing.requests.recv().await.unwrap()).unwrap();
        assert!(read.to_lowercase().contains("idempotency-key: k1\r\n"), "{read}");
        assert_eq!(passing.end().await.len(), 3);
    }
}

#[tokio::test]
async fn a_retry_of_what_was_cut_keeps_its_nonce() {
    let passing = Passing::open(Then::Close(chunked(&["data: {}\n\n"]))).await;
    let mut nonces = BTreeSet::new();
    let mut tags = BTreeSet::new();
    for _ in 0..3 {
        let response = exchange(passing.address, &keyed(CHAT, "k", b"{}")).await;
        assert!(!response.whole);
        let receipt = passing.receipt(response.tag()).await;
        assert_eq!(receipt.finish, FinishCode::Failed);
        nonces.insert(receipt.tag.nonce);
        tags.insert(receipt.tag.counter);
    }
    assert_eq!((nonces.len(), tags.len()), (1, 3));
    // A failure of the upstream's is not kept either, and a key in another form is none of ours.
    let failing = Passing::open(Then::Close(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec())).await;
    for key in ["k", "k", "a key", "a key"] {
        let response = exchange(failing.address, &keyed(CHAT, key, b"{}")).await;
        assert_eq!((response.status, response.header("idempotency-replayed")), (500, None));
        failing.receipt(response.tag()).await;
    }
    assert_eq!(failing.end().await.len(), 4);
    assert_eq!(passing.end().await.len(), 3);
}

/// Without keys of the gateway's own, clients are told apart as the upstream does it.
#[tokio::test]
async fn nobody_gets_anothers_answer_by_using_its_key() {
    let passing = Passing::open(Then::Close(with_length(b"{}"))).await;
    let mut tags = BTreeSet::new();
    for lines in [
        "",
        "authorization: Bearer a\r\n",
        "authorization: Bearer b\r\n",
        "x-api-key: Bearer b\r\n",
        "cookie: a\r\n",
    ] {
        let asked = post_with(CHAT, &format!("{lines}idempotency-key: k\r\n"), b"{}");
        let first = exchange(passing.address, &asked).await;
        passing.receipt(first.tag()).await;
        assert_eq!(first.header("idempotency-replayed"), None, "{lines}");
        let again = exchange(passing.address, &asked).await;
        assert_eq!(
            (again.tag(), again.header("idempotency-replayed")),
            (first.tag(), Some("true")),
            "{lines}"
        );
        assert!(tags.insert(first.tag()));
    }
    assert_eq!(passing.end().await.len(), 5);
}
