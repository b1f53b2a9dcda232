//! `maxwell route` between a client and gateways that are honest, full, away, or answer for another model.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::receipt::{FinishCode, RECEIPT_VERSION, ReceiptMode, RequestTag, response_digest};
use protocol::refusal::{Refusal, input_digest};
use protocol::{
    ChainHash, ClaimDigest, ModelCommitment, Nonce, Receipt, RequestDigest, SigningKey, VerifyingKey,
};
use serde_json::{Value, json};

use crate::program::Stage;
use crate::running::Running;

const NONCE: Nonce = Nonce::from_bytes([0xab; 32]);
const BODY: &str = "{\"model\":\"tiny\",\"prompt\":\"Hi\"}";

/// How a fake gateway behaves.
#[derive(Clone)]
struct Behaviour {
    /// What it says that it serves.
    says: ModelCommitment,
    /// What its receipts say.
    receipts: ModelCommitment,
    /// Of the answer to an input.
    status: u16,
    name: &'static str,
}

struct FakeGateway {
    argument: String,
    asked: Arc<AtomicU64>,
}

/// A gateway with a key of its own that answers everything until the test ends.
fn gateway(behaviour: Behaviour, seed: u8) -> FakeGateway {
    let key = SigningKey::from_seed([seed; 32]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let argument = format!("{}={}", listener.local_addr().unwrap(), key.verifying_key());
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let body = json!({ "model": behaviour.name, "text": "yes" }).to_string().into_bytes();
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let head: Vec<String> =
                reader.by_ref().lines().map(Result::unwrap).take_while(|l| !l.is_empty()).collect();
            let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let mut sent = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut sent).unwrap();
            let (status, headers, answer) = if head[0].starts_with("GET /status") {
                let status =
                    json!({ "commitment": behaviour.says.to_string(), "mode": "serving", "in_flight": 0 });
                (200, "", status.to_string().into_bytes())
            } else if head[0].starts_with("GET /v1/receipts/0000000000000007 ") {
                (200, "", receipt(&key, behaviour.receipts, &body))
            } else {
                assert_eq!(sent, BODY.as_bytes());
                count.fetch_add(1, Ordering::SeqCst);
                (behaviour.status, "x-maxwell-receipt: 0000000000000007\r\nretry-after: 7\r\n", body.clone())
            };
            let length = answer.len();
            let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n");
            reader.into_inner().write_all(&[head.into_bytes(), answer].concat()).unwrap();
        }
    });
    FakeGateway { argument, asked }
}

fn receipt(key: &SigningKey, model: ModelCommitment, body: &[u8]) -> Vec<u8> {
    let receipt = Receipt {
        version: RECEIPT_VERSION,
        gateway: key.verifying_key().id(),
        tag: RequestTag { counter: 7, nonce: Nonce::from_bytes([1; 32]) },
        model,
        template: None,
        request: RequestDigest::from_bytes([4; 32]),
        response: response_digest(body),
        prompt_tokens: 1,
        output_tokens: 1,
        finish: FinishCode::Length,
        claim: Some(ClaimDigest::from_bytes([6; 32])),
        chain: ChainHash::from_bytes([7; 32]),
        sequence: 1,
        issued_unix_ms: 1,
        mode: ReceiptMode::Exact,
    };
    receipt.sign(key).unwrap()
}

/// A whitelist with the tiny model; its commitment and the router's key.
fn prepared() -> (Stage, ModelCommitment, VerifyingKey) {
    let stage = Stage::new();
    let (model, list) = (stage.tiny(), stage.argument("whitelist.cbor"));
    for name in ["alice.key", "bob.key", "router.key"] {
        stage.run(&["keygen", &stage.argument(name)]).expect(0);
    }
    stage.run(&["whitelist", "add", &model, "--file", &list]).expect(0);
    sign(&stage);
    let shown = stage.run(&["inspect", &model, "--json"]).expect(0).json();
    let commitment = shown["commitment"].as_str().unwrap().parse().unwrap();
    let key = std::fs::read_to_string(stage.path("router.key.pub")).unwrap();
    (stage, commitment, key.trim().parse().unwrap())
}

fn sign(stage: &Stage) {
    let list = stage.argument("whitelist.cbor");
    for name in ["alice.key", "bob.key"] {
        stage.run(&["whitelist", "sign", "--file", &list, "--key", &stage.argument(name)]).expect(0);
    }
}

fn start(stage: Stage, gateways: &[&FakeGateway]) -> Running {
    let argument = |name: &str| stage.argument(name);
    let mut arguments: Vec<String> =
        ["route", "--listen", "127.0.0.1:0", "--load-s", "42"].map(str::to_owned).to_vec();
    arguments.extend([
        "--whitelist".to_owned(),
        argument("whitelist.cbor"),
        "--key".to_owned(),
        argument("router.key"),
    ]);
    for party in ["alice.key.pub", "bob.key.pub"] {
        arguments.extend(["--party".to_owned(), argument(party)]);
    }
    for gateway in gateways {
        arguments.extend(["--gateway".to_owned(), gateway.argument.clone()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Running::start(stage, &arguments)
}

/// Head and body of the answer to an input with a nonce.
fn ask(router: &Running, body: &str) -> (String, String) {
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         x-maxwell-nonce: {NONCE}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    router.send(&request).read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

/// A refusal that its client can show to anybody, and that fits no other request.
fn check_refused(
    router: &Running,
    key: &VerifyingKey,
    body: &str,
    status: u16,
    code: &str,
    again: Option<u32>,
) {
    let (head, answer) = ask(router, body);
    assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["error"]["code"], code);
    let line = head.lines().find_map(|line| line.strip_prefix("x-maxwell-refusal: ")).unwrap();
    let bytes = hex::decode(line).unwrap();
    let input = input_digest("/v1/completions", body.as_bytes());
    let refusal = Refusal::verify(&bytes, key, Some(&NONCE), &input).unwrap();
    assert_eq!((refusal.reason.code(), refusal.retry_after_s), (code, again));
    let retry_after = head.lines().find_map(|line| line.strip_prefix("retry-after: ")?.parse().ok());
    assert_eq!(retry_after, again);
    assert!(Refusal::verify(&bytes, key, Some(&Nonce::from_bytes([0; 32])), &input).is_err());
    assert!(Refusal::verify(&bytes, key, Some(&NONCE), &input_digest("/v1/completions", b"{}")).is_err());
}

const OTHER: ModelCommitment = ModelCommitment::from_bytes([9; 32]);

fn honest(model: ModelCommitment) -> Behaviour {
    Behaviour { says: model, receipts: model, status: 200, name: "tiny" }
}

#[test]
fn an_input_finds_the_gateway_of_its_model_and_nothing_else_does() {
    let (stage, model, key) = prepared();
    let (other, right) = (gateway(honest(OTHER), 1), gateway(honest(model), 2));
    let router = start(stage, &[&other, &right]);
    let (head, body) = ask(&router, BODY);
    assert!(
        head.starts_with("http/1.1 200 ") && head.contains("x-maxwell-receipt: 0000000000000007"),
        "{head}"
    );
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["text"], "yes");
    assert_eq!((other.asked.load(Ordering::SeqCst), right.asked.load(Ordering::SeqCst)), (0, 1));
    check_refused(&router, &key, "{\"model\":\"large\"}", 403, "model_not_whitelisted", None);
    let (_, models) = router.get("/v1/models");
    assert!(models.contains(&model.to_string()), "{models}");
}

#[test]
fn a_gateway_that_answers_for_another_model_is_found_by_its_receipt() {
    let (stage, model, key) = prepared();
    // It says that it serves the model, and its name stands in the answer.
    let liar = gateway(Behaviour { receipts: OTHER, ..honest(model) }, 1);
    let router = start(stage, &[&liar]);
    check_refused(&router, &key, BODY, 502, "substituted", None);
}

#[test]
fn full_and_absent_gateways_are_refusals_with_a_time() {
    let (stage, model, key) = prepared();
    let full = gateway(Behaviour { status: 429, ..honest(model) }, 1);
    let away = gateway(Behaviour { status: 503, ..honest(model) }, 2);
    let router = start(stage, &[&full, &away]);
    check_refused(&router, &key, BODY, 429, "busy", Some(7));
    assert_eq!((full.asked.load(Ordering::SeqCst), away.asked.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn a_model_that_nobody_serves_or_that_was_revoked_is_refused() {
    let (stage, model, key) = prepared();
    let other = gateway(honest(OTHER), 1);
    let router = start(stage, &[&other]);
    check_refused(&router, &key, BODY, 503, "model_not_loaded", Some(42));
    drop(router);
    let (stage, _, key) = prepared();
    let list = stage.argument("whitelist.cbor");
    stage.run(&["whitelist", "revoke", &model.to_string(), "--file", &list]).expect(0);
    sign(&stage);
    let serving = gateway(honest(model), 1);
    let router = start(stage, &[&serving]);
    check_refused(&router, &key, BODY, 410, "model_revoked", None);
    assert_eq!(serving.asked.load(Ordering::SeqCst), 0);
}
