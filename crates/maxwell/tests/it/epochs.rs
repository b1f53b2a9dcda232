//! An epoch from the outside, with the real binary: opening, end, proof of a receipt, beacon, export, and the audit by
//! somebody who has nothing but the gateway's public key.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use protocol::epoch::EpochFile;
use serde_json::{Value, json};

use crate::gateway::{Gateway, WAIT, config, prepared, server};
use crate::program::Stage;

/// Status and body of an answer.
fn exchange(gateway: &Gateway, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(&gateway.address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let length = body.len();
    let head = format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
    (status, answer.split_off(at + 4))
}

fn get(gateway: &Gateway, path: &str) -> Vec<u8> {
    let (status, body) = exchange(gateway, &format!("GET {path}"), &[]);
    assert_eq!(status, 200, "{path}");
    body
}

fn epochs(gateway: &Gateway) -> Vec<Value> {
    serde_json::from_slice(&get(gateway, "/v1/epochs")).unwrap()
}

/// One answer; gives its receipt's name.
fn ask(gateway: &Gateway) -> String {
    let answer = gateway.ask("any");
    let line = answer.lines().find_map(|line| line.strip_prefix("x-maxwell-receipt: "));
    line.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Epochs of three answers, of which four in ten are picked.
fn configured(stage: &Stage) -> String {
    stage.run(&["keygen", &stage.argument("inspector.key")]).expect(0);
    let more = format!("epoch_answers = 3\nbeacon_party = \"inspector.key.pub\"\n{}", server());
    let path = config(stage, "", &more);
    let text = fs::read_to_string(&path).unwrap().replace("rate_ppm = 1000000", "rate_ppm = 400000");
    stage.write("gateway.toml", text.as_bytes())
}

#[test]
fn an_outsider_checks_an_epoch_and_draws_its_beacon() {
    let stage = prepared();
    let path = configured(&stage);
    let gateway = Gateway::serving(&stage, &path);
    let (key, other) = (stage.argument("gateway.key.pub"), stage.argument("alice.key.pub"));
    let name = epochs(&gateway)[0]["epoch"].as_u64().unwrap();
    let checkpoint = |gateway: &Gateway| get(gateway, &format!("/v1/epochs/{name}/checkpoint"));
    let opening = stage.write("opening.cbor", &checkpoint(&gateway));
    let names: Vec<String> = (0..4).map(|_| ask(&gateway)).collect();
    let last = stage.write("last.cbor", &checkpoint(&gateway));

    // The receipt's answer is in the tree, and another's proof does not say so.
    let receipt = stage.write("receipt", &get(&gateway, &format!("/v1/receipts/{}", names[0])));
    let proofs: Vec<String> = [0, 1]
        .map(|at| {
            stage.write(&format!("proof{at}"), &get(&gateway, &format!("/v1/receipts/{}/proof", names[at])))
        })
        .to_vec();
    let verify =
        |proof: &str| stage.run(&["receipt", "verify", &receipt, "--key", &key, "--proof", proof, "--json"]);
    assert_eq!(verify(&proofs[0]).expect(0).json()["epoch"]["answers"], 3);
    assert_eq!(verify(&proofs[1]).expect(3).json()["reason"], "inclusion_field");
    assert_eq!(verify(&receipt).expect(3).json()["reason"], "inclusion_form");

    // The beacon: for the final checkpoint, by the party, once.
    let draw = |checkpoint: &str, signer: &str, out: &str| {
        let (signer, out) = (stage.argument(signer), stage.argument(out));
        stage.run(&["log", "beacon", checkpoint, "--gateway", &key, "--key", &signer, "--out", &out])
    };
    assert!(draw(&opening, "inspector.key", "no").expect(1).stderr.contains("not the epoch's final one"));
    assert!(draw(&last, "alice.key", "no").expect(1).stderr.contains("another party"));
    draw(&last, "inspector.key", "beacon.cbor").expect(0);
    draw(&last, "inspector.key", "beacon.cbor").expect(1);
    draw(&last, "inspector.key", "second.cbor").expect(0);
    let send = |name: &str| {
        exchange(
            &gateway,
            &format!("POST /v1/epochs/{}/beacon", epochs(&gateway)[0]["epoch"]),
            &fs::read(stage.path(name)).unwrap(),
        )
    };
    let (status, body) = send("beacon.cbor");
    let picked = serde_json::from_slice::<Value>(&body).unwrap()["picked"].as_u64().unwrap();
    assert_eq!((status, send("beacon.cbor").0, send("second.cbor").0), (200, 200, 409));
    gateway.signal("-TERM");
    gateway.end().expect(0);
    exported(&stage, name, picked, [&opening, &last, &key, &other]);

    // After a restart the beacon's picks still wait, and the epoch is still known.
    let gateway = Gateway::start(&stage, &path, &[]);
    let audited = stage.run(&["log", "epochs", &stage.argument("data"), "--json"]);
    // The log is taken while the gateway runs.
    audited.expect(1);
    assert_eq!((&epochs(&gateway)[0]["epoch"], &epochs(&gateway)[0]["beacon"]), (&name.into(), &true.into()));
    let (status, _) = exchange(
        &gateway,
        &format!("POST /v1/epochs/{name}/beacon"),
        &fs::read(stage.path("second.cbor")).unwrap(),
    );
    assert_eq!(status, 409);
    gateway.signal("-TERM");
    gateway.end().expect(0);
}

/// What the operator gives out, and what others find in it.
fn exported(stage: &Stage, name: u64, picked: u64, [opening, last, key, other]: [&str; 4]) {
    let (data, file) = (stage.argument("data"), stage.argument("epoch.cbor"));
    let json = stage.run(&["log", "audit-sampling", &data, "--json"]).expect(0).json();
    assert_eq!((&json["answers"], &json["beacon_picked"]), (&4.into(), &picked.into()));
    stage.run(&["log", "export-epoch", &data, "--epoch", "77", "--out", &file]).expect(1);
    stage.run(&["log", "export-epoch", &data, "--epoch", &name.to_string(), "--out", &file]).expect(0);
    let audit =
        |file: &str, more: &[&str]| stage.run(&[&["log", "audit-sampling", file, "--json"], more].concat());
    for earlier in [opening, last] {
        let json = audit(&file, &["--key", key, "--earlier", earlier]).expect(0).json();
        assert_eq!(
            (&json["answers"], &json["revealed"], &json["findings"]),
            (&3.into(), &true.into(), &json!([]))
        );
        assert_eq!(json["beacon_picked"], picked);
    }
    audit(&file, &[]).expect(2);
    audit(&file, &["--key", other]).expect(3);
    audit(&data, &["--key", other]).expect(3);
    let right = EpochFile::decode(&fs::read(&file).unwrap()).unwrap();
    let changes: [fn(&mut EpochFile); 5] = [
        |file| file.leaves.truncate(2),
        |file| file.leaves[0].picked = !file.leaves[0].picked,
        |file| file.leaves[1].cost_tokens += 1,
        |file| file.leaves.swap(0, 1),
        |file| file.audit_key = Some([0; 32]),
    ];
    for change in changes {
        let mut changed = right.clone();
        change(&mut changed);
        let changed = stage.write("changed.cbor", &changed.encode());
        audit(&changed, &["--key", key]).expect(3);
    }
    let unrevealed = EpochFile { audit_key: None, ..right };
    let unrevealed = stage.write("unrevealed.cbor", &unrevealed.encode());
    audit(&unrevealed, &["--key", key]).expect(4);
}

/// A gateway that is killed loses the audit key of its epoch, so nobody can check those coins. Its answers are bound by
/// the next start all the same, and the other party's beacon can pick from them.
#[test]
fn an_epoch_that_was_cut_off_is_bound_by_the_next_start_and_open_to_a_beacon() {
    let stage = prepared();
    let path = configured(&stage);
    let gateway = Gateway::serving(&stage, &path);
    let name = epochs(&gateway)[0]["epoch"].as_u64().unwrap();
    ask(&gateway);
    ask(&gateway);
    gateway.signal("-KILL");
    drop(gateway);
    let gateway = Gateway::start(&stage, &path, &[]);
    let found = epochs(&gateway);
    assert_eq!((&found[0]["epoch"], &found[0]["final"]), (&name.into(), &true.into()));
    assert_eq!((&found[0]["answers"], found.len()), (&2.into(), 2));
    let last = stage.write("last.cbor", &get(&gateway, &format!("/v1/epochs/{name}/checkpoint")));
    let (key, signer) = (stage.argument("gateway.key.pub"), stage.argument("inspector.key"));
    let beacon = stage.argument("beacon.cbor");
    stage.run(&["log", "beacon", &last, "--gateway", &key, "--key", &signer, "--out", &beacon]).expect(0);
    let beacon = fs::read(beacon).unwrap();
    assert_eq!(exchange(&gateway, &format!("POST /v1/epochs/{name}/beacon"), &beacon).0, 200);
    gateway.signal("-TERM");
    gateway.end().expect(0);
    let json = stage.run(&["log", "audit-sampling", &stage.argument("data"), "--json"]).expect(4).json();
    assert_eq!(
        (&json["answers"], &json["revealed"], &json["findings"]),
        (&2.into(), &false.into(), &json!([]))
    );
    assert_eq!((&json["epochs"][0]["beacon"], &json["epochs"][1]["revealed"]), (&true.into(), &true.into()));
}
