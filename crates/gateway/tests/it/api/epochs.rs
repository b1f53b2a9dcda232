//! Epochs of a whole gateway: checkpoints and proofs as clients get them, beacons, and who is caught by the second lottery
//! and not by the first.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::net::SocketAddr;

use gateway::history::History;
use gateway::panel::PanelPolicy;
use gateway::record::Record;
use gateway::sampling::{AuditPolicy, AuditSampler, PPB};
use gateway::sampling_audit::{audit_epoch, audit_log};
use gateway::state::{KillReason, Mode};
use protocol::checkpoint::{Beacon, Checkpoint};
use protocol::epoch::InclusionProof;
use protocol::keys::{SigningKey, VerifyingKey};
use protocol::lease::{FromGateway, Outcome};
use protocol::{Claim, FinishReason, Receipt};
use serde_json::{Value, json};

use super::leases::Recomputer;
use crate::client::{Client, Response, exchange, get, post, text};
use crate::fake::{END, Gateway, Generate, Setup, audit_key, beacon_party, ids, soon};

fn gateway_key() -> VerifyingKey {
    SigningKey::from_seed([5; 32]).verifying_key()
}

fn setup(epoch_answers: usize, rate_ppb: u64) -> Setup {
    Setup { epoch_answers, rate_ppb, recomputers: PanelPolicy::single(600_000, 1024), ..Setup::default() }
}

/// One answer; gives its tag.
async fn answer(gateway: &mut Gateway, says: &str) -> u64 {
    let mut client = Client::asking(gateway.address, &text("Hi", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.answer(tag, says).await;
    assert_eq!(client.response().await.status, 200);
    tag
}

async fn epochs(address: SocketAddr) -> Vec<Value> {
    get(address, "/v1/epochs", "").await.json().as_array().unwrap().clone()
}

async fn checkpoint(address: SocketAddr, epoch: &Value) -> (Vec<u8>, Checkpoint) {
    let response = get(address, &format!("/v1/epochs/{epoch}/checkpoint"), "").await;
    assert_eq!(response.status, 200);
    let checkpoint = Checkpoint::verify(&response.body, &gateway_key()).unwrap();
    (response.body, checkpoint)
}

async fn send_beacon(address: SocketAddr, epoch: &Value, signed: &[u8]) -> Response {
    exchange(address, &post(&format!("/v1/epochs/{epoch}/beacon"), signed)).await
}

async fn proof(address: SocketAddr, tag: u64) -> Response {
    get(address, &format!("/v1/receipts/{tag:016x}/proof"), "").await
}

fn history(gateway: &Gateway) -> History {
    let mut history = History::new();
    for (at, record) in gateway.records().iter().enumerate() {
        history.add(u64::try_from(at).unwrap(), record);
    }
    history
}

#[tokio::test]
async fn an_epoch_ends_is_proved_and_audited_by_an_outsider() {
    let mut gateway = Gateway::serving(setup(3, PPB / 2)).await;
    let address = gateway.address;
    let opened = epochs(address).await;
    assert_eq!((opened.len(), &opened[0]["final"], &opened[0]["answers"]), (1, &false.into(), &0.into()));
    let name = opened[0]["epoch"].clone();
    let (_, opening) = checkpoint(address, &name).await;
    assert_eq!((opening.size, opening.is_final), (0, false));
    let mut tags = vec![answer(&mut gateway, "one").await, answer(&mut gateway, "two").await];
    // Not before the end: whether it is picked would be in it.
    assert_eq!(proof(address, tags[0]).await.status, 202);
    let (_, open) = checkpoint(address, &name).await;
    assert_eq!((open.size, open.is_final), (2, false));
    tags.push(answer(&mut gateway, "three").await);
    tags.push(answer(&mut gateway, "four").await);
    let now = epochs(address).await;
    assert_eq!((now.len(), &now[0]["final"], &now[0]["answers"]), (2, &true.into(), &3.into()));
    assert_eq!((&now[1]["final"], &now[1]["answers"]), (&false.into(), &1.into()));
    let (_, last) = checkpoint(address, &name).await;
    for tag in &tags[..3] {
        let proof = InclusionProof::decode(&proof(address, *tag).await.body).unwrap();
        let receipt = get(address, &format!("/v1/receipts/{tag:016x}"), "").await.body;
        let receipt = Receipt::verify(&receipt, &gateway_key()).unwrap();
        assert_eq!(proof.verify(&gateway_key(), &receipt), Ok(last.clone()));
    }
    assert_eq!(proof(address, tags[3]).await.status, 202);
    assert_eq!(proof(address, 99).await.status, 404);
    assert_eq!(get(address, "/v1/receipts/99/proof", "").await.status, 400);
    assert_eq!(get(address, "/v1/epochs/12345/checkpoint", "").await.status, 404);

    // The log agrees, and so does the file that is made from it, with each checkpoint that was kept.
    let history = history(&gateway);
    let report = audit_log(&history, &gateway_key(), true);
    assert_eq!(report.all_findings().count(), 0);
    let file = history.export(name.as_u64().unwrap()).unwrap();
    assert_eq!(file.audit_key, Some(audit_key(0)));
    for kept in [&opening, &open, &last] {
        let report = audit_epoch(&file, &gateway_key(), Some(kept));
        assert_eq!((report.findings, report.counts.answers), (vec![], 3));
    }
    // The next epoch builds on this one, and has another key.
    let (_, next) = checkpoint(address, &now[1]["epoch"]).await;
    assert_eq!(next.terms.previous, Some(last.digest()));
    assert_ne!(next.terms.audit_key, last.terms.audit_key);
    assert_eq!(next.terms.seed_key, last.terms.seed_key);
}

#[tokio::test]
async fn the_key_is_revealed_after_the_checkpoint_and_not_before() {
    let mut gateway = Gateway::serving(setup(2, PPB / 2)).await;
    answer(&mut gateway, "one").await;
    let revealed =
        |records: &[Record]| records.iter().position(|record| matches!(record, Record::Revealed { .. }));
    assert_eq!(revealed(&gateway.records()), None);
    answer(&mut gateway, "two").await;
    let records = gateway.records();
    let bound = records.iter().position(|record| matches!(record, Record::Checkpoint { .. })).unwrap();
    assert!(revealed(&records).unwrap() > bound);
    let service = gateway.service.clone();
    tokio::task::spawn_blocking(move || service.ended()).await.unwrap().unwrap();
    let report = audit_log(&history(&gateway), &gateway_key(), true);
    assert_eq!((report.all_findings().count(), report.is_revealed, report.epochs.len()), (0, true, 2));
}

#[tokio::test]
async fn answers_given_together_are_in_exactly_one_epoch_each() {
    let mut gateway = Gateway::serving(setup(3, PPB / 2)).await;
    for _ in 0..4 {
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(Client::asking(gateway.address, &text("Hi", json!({}))).await);
        }
        let mut tags = Vec::new();
        for _ in 0..8 {
            tags.push(gateway.server.generate().await.tag);
        }
        for tag in tags {
            gateway.server.answer(tag, "yes").await;
        }
        for mut client in clients {
            assert_eq!(client.response().await.status, 200);
        }
    }
    let service = gateway.service.clone();
    tokio::task::spawn_blocking(move || service.ended()).await.unwrap().unwrap();
    let report = audit_log(&history(&gateway), &gateway_key(), true);
    assert_eq!((report.all_findings().count(), report.counts.answers), (0, 32));
    let sizes: Vec<u64> = report.epochs.iter().map(|epoch| epoch.counts.answers).collect();
    assert_eq!(sizes, [[3; 10].as_slice(), &[2]].concat());
}

#[tokio::test]
async fn beacons_are_taken_from_the_party_once_and_for_this_checkpoint() {
    let mut gateway = Gateway::serving(setup(2, PPB / 10)).await;
    let address = gateway.address;
    for says in ["one", "two", "three", "four", "five"] {
        answer(&mut gateway, says).await;
    }
    let found = epochs(address).await;
    let [first, second, open] = [0, 1, 2].map(|at| found[at]["epoch"].clone());
    let (_, of_first) = checkpoint(address, &first).await;
    let (_, of_second) = checkpoint(address, &second).await;
    let right = Beacon::new(&of_first, [1; 32]).sign(&beacon_party());
    let other = Beacon::new(&of_second, [1; 32]).sign(&beacon_party());
    let forged = Beacon::new(&of_first, [1; 32]).sign(&SigningKey::from_seed([5; 32]));
    let long = vec![0; 1000];
    for (epoch, signed, status, code) in [
        (&first, &other, 422, "other_checkpoint"),
        (&first, &forged, 403, "beacon_signature"),
        (&first, &vec![], 403, "beacon_signature"),
        (&open, &right, 409, "epoch_open"),
        (&json!(12345), &right, 404, "unknown_epoch"),
    ] {
        let response = send_beacon(address, epoch, signed).await;
        assert_eq!((response.status, &response.json()["error"]["param"]), (status, &code.into()));
    }
    assert_eq!(send_beacon(address, &first, &long).await.status, 413);
    let taken = send_beacon(address, &first, &right).await;
    assert_eq!((taken.status, &taken.json()["new"]), (200, &true.into()));
    // The answer was lost, and it is sent again; then another one comes.
    let again = send_beacon(address, &first, &right).await;
    assert_eq!((again.status, &again.json()["new"]), (200, &false.into()));
    let late = Beacon::new(&of_first, [2; 32]).sign(&beacon_party());
    let response = send_beacon(address, &first, &late).await;
    assert_eq!((response.status, &response.json()["error"]["param"]), (409, &"second_beacon".into()));
    let beacons = gateway.records().into_iter().filter(|record| matches!(record, Record::Beacon { .. }));
    assert_eq!(beacons.count(), 1);
}

/// The server and whoever holds the audit key are one: of each wrong answer they try others until its coin says no.
async fn steered(gateway: &mut Gateway) -> u64 {
    let policy = AuditPolicy { rate_ppb: PPB / 2, floor_ppb: PPB / 2 };
    let sampler = AuditSampler::new(audit_key(0), policy);
    let mut client = Client::asking(gateway.address, &text("Hi", json!({}))).await;
    let asked: Generate = gateway.server.generate().await;
    let wrong = (b'a'..=b'z').map(|letter| char::from(letter).to_string());
    let unseen = wrong.into_iter().find(|says| !sampler.picks(&claim(&asked, says).digest(), 4));
    gateway.server.answer(asked.tag, &unseen.unwrap()).await;
    assert_eq!(client.response().await.status, 200);
    asked.tag
}

/// The claim that the gateway will make of an answer.
fn claim(asked: &Generate, says: &str) -> Claim {
    Claim {
        version: protocol::claim::CLAIM_VERSION,
        numerics: "maxwell-ie5-1".to_owned(),
        model: protocol::ModelCommitment::from_bytes([1; 32]),
        template: None,
        prompt_ids: asked.prompt_ids.clone(),
        settings: asked.settings,
        client_seed: asked.client_seed,
        nonce: asked.nonce,
        seed: protocol::seed::derive_seed(&asked.nonce, &asked.client_seed),
        output_ids: [ids(says), vec![END]].concat(),
        finish: FinishReason::EndToken,
        output_bytes: says.as_bytes().to_vec(),
        fingerprints: vec![crate::fake::fingerprint(); says.len() + 1],
        logprobs: None,
        trace: None,
    }
}

#[tokio::test]
async fn who_steers_the_first_lottery_is_caught_by_the_second() {
    const ANSWERS: usize = 12;
    let mut gateway = Gateway::serving(setup(ANSWERS, PPB / 2)).await;
    let address = gateway.address;
    for _ in 0..ANSWERS {
        steered(&mut gateway).await;
    }
    // Twelve wrong answers at a rate of a half, and nothing to recompute: the first lottery is blind.
    let mut recomputer = Recomputer::new(&gateway).await;
    assert_eq!(recomputer.lease().await, Some(FromGateway::Idle));
    let name = epochs(address).await[0]["epoch"].clone();
    let report = audit_log(&history(&gateway), &gateway_key(), true);
    assert_eq!((report.all_findings().count(), report.counts.picked), (0, 0));
    let (_, checkpoint) = checkpoint(address, &name).await;
    let signed = Beacon::new(&checkpoint, [9; 32]).sign(&beacon_party());
    let taken = send_beacon(address, &name, &signed).await.json();
    let picked = taken["picked"].as_u64().unwrap();
    assert!((1..12).contains(&picked), "{picked}");
    let Some(FromGateway::Job { tag, .. }) = recomputer.lease().await else { unreachable!("no job") };
    let wrong = Outcome::Fail { reason: "output_token".to_owned(), position: Some(0) };
    recomputer.done(tag, wrong).await;
    gateway.link.reaches(Mode::Killed(KillReason::Audit)).await;
    assert_eq!(gateway.service.alarm().unwrap().tag, tag);
    let report = audit_log(&history(&gateway), &gateway_key(), true);
    let counts = report.counts;
    assert_eq!((report.all_findings().count(), counts.beacon_picked, counts.failed), (0, picked, 1));
}

#[tokio::test]
async fn a_source_of_keys_that_breaks_ends_serving_and_loses_nothing() {
    let mut gateway = Gateway::serving(Setup { keys_fail_after: 1, ..setup(2, PPB / 2) }).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::asking(gateway.address, &text("Hi", json!({}))).await);
    }
    let mut tags = Vec::new();
    for _ in 0..3 {
        tags.push(gateway.server.generate().await.tag);
    }
    // Three are being written when the epoch should end with the second.
    for tag in tags {
        gateway.server.answer(tag, "yes").await;
    }
    for mut client in clients {
        assert_eq!(soon("a response", client.response()).await.status, 200);
    }
    let refused = exchange(gateway.address, &text("Hi", json!({}))).await;
    assert_eq!(refused.status, 503);
    assert!(refused.error().contains("the random source is stuck"), "{}", refused.error());
    let service = gateway.service.clone();
    tokio::task::spawn_blocking(move || service.ended()).await.unwrap().unwrap();
    let report = audit_log(&history(&gateway), &gateway_key(), true);
    assert_eq!((report.all_findings().count(), report.counts.answers, report.is_revealed), (0, 3, true));
}
