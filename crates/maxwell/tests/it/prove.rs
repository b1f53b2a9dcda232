//! `maxwell prove` and `maxwell verify` on claims of tiny models: the whole way by files, and each exit code.

use std::fs;

use serde_json::Value;

use crate::program::{NONCE, Stage, read_claim};

#[test]
fn a_claim_is_proven_and_its_proof_is_accepted_for_it_only() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.argument("greedy.claim");
    let generate = ["generate", "-m", &model, "-p", "hello", "-n", "4", "--ignore-end", "--nonce", NONCE];
    stage.run(&[&generate[..], &["--claim", &claim]].concat()).expect(0);
    let proof = stage.argument("claim.proof");
    let proven = stage.run(&["prove", &claim, "-o", &proof, "--json"]).expect(0).json();
    assert_eq!(proven["bytes"], fs::metadata(&proof).expect("the proof").len());
    assert!(proven["security_bits"].as_u64() >= Some(100), "{proven}");
    assert_eq!(proven["phases"].as_array().map(Vec::len), Some(5));

    let verified = stage.run(&["verify", &claim, &proof, "--json", "--nonce", NONCE]).expect(0).json();
    assert_eq!((&verified["verdict"], &verified["message"]), (&Value::from("accept"), &Value::Null));
    assert_eq!(verified["fresh"], true);
    let text = stage.run(&["verify", &claim, &proof, "-m", &model]).expect(0).stdout;
    assert!(text.starts_with("Accepted: "), "{text}");

    // Any other token is another claim.
    for index in 0..read_claim(&claim).output_ids.len() {
        let mut changed = read_claim(&claim);
        changed.output_ids[index] ^= 1;
        let path = stage.write("changed.claim", &changed.encode());
        let text = stage.run(&["verify", &path, &proof]).expect(3).stdout;
        assert!(text.starts_with("Rejected: "), "{text}");
    }
    let mut bytes = fs::read(&proof).expect("the proof");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let path = stage.write("changed.proof", &bytes);
    assert_eq!(stage.run(&["verify", &claim, &path, "--json"]).expect(3).json()["verdict"], "reject");
    let path = stage.write("cut.proof", &bytes[..middle]);
    let text = stage.run(&["verify", &claim, &path]).expect(3).stdout;
    assert!(text.contains("ends at byte"), "{text}");
}

#[test]
fn what_no_proof_covers_is_refused_before_any_work() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &["--top-k", "5"]);
    let proof = stage.argument("claim.proof");
    let refused = stage.run(&["prove", &claim, "-o", &proof]).expect(1).stderr;
    assert!(refused.contains("top-k"), "{refused}");
    assert!(fs::metadata(&proof).is_err(), "nothing was written");
}
