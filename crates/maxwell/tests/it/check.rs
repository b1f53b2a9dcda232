//! `maxwell check` on claims of tiny models: each exit code, each form of the answer, and no changed byte accepted.

use std::fs;

use model::synthetic::{SplitMix64, SyntheticModel};
use protocol::Claim;
use protocol::seed::derive_seed;
use serde_json::{Value, json};

use crate::program::{NONCE, Stage, read_claim, tiny};

const OTHER_NONCE: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn an_honest_claim_is_accepted_with_exit_code_0() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &[]);
    let json = stage.run(&["check", &claim, "--json", "--nonce", NONCE]).expect(0).json();
    assert_eq!(json["verdict"], "accept");
    assert_eq!((&json["reason"], &json["position"]), (&Value::Null, &Value::Null));
    assert_eq!(json["fresh"], true);
    assert!(json["seconds"].is_number());
    let decoded = read_claim(&claim);
    assert_eq!(json["tokens"], decoded.prompt_ids.len() + decoded.output_ids.len());
    assert_eq!(json["commitment"], decoded.model.to_string());
    let text = stage.run(&["check", &claim, "-m", &model]).expect(0).stdout;
    assert!(text.contains("Accepted") && text.contains("freshness not checked"), "{text}");
    assert_eq!(stage.run(&["check", &claim, "--json"]).expect(0).json()["fresh"], "not checked");
}

/// Changes the claim and expects the reason and position.
fn check_reject(change: impl Fn(&mut Claim), reason: &str, position: Value) {
    let stage = Stage::new();
    let model = stage.tiny();
    let mut claim = read_claim(&stage.claim(&model, &["--ignore-end"]));
    change(&mut claim);
    let path = stage.write("changed.claim", &claim.encode());
    let json = stage.run(&["check", &path, "--json"]).expect(3).json();
    assert_eq!(
        (&json["verdict"], &json["reason"], &json["position"]),
        (&json!("reject"), &json!(reason), &position)
    );
    let text = stage.run(&["check", &path]).expect(3).stdout;
    assert!(text.starts_with("Rejected: "), "{text}");
}

#[test]
fn a_changed_token_is_rejected_at_its_position_with_exit_code_3() {
    check_reject(|claim| claim.output_ids[3] ^= 1, "output_token", json!(3));
}

#[test]
fn a_changed_prompt_is_rejected_at_the_first_logits() {
    check_reject(|claim| claim.prompt_ids[0] ^= 1, "logit_fingerprint", json!(0));
}

#[test]
fn a_chosen_seed_is_rejected() {
    check_reject(|claim| claim.seed = protocol::Seed::from_bytes([7; 32]), "seed", Value::Null);
}

#[test]
fn a_rewritten_nonce_is_rejected() {
    let rewrite = |claim: &mut Claim| {
        claim.nonce = OTHER_NONCE.parse().unwrap();
        claim.seed = derive_seed(&claim.nonce, &claim.client_seed);
    };
    check_reject(rewrite, "logit_fingerprint", json!(0));
}

#[test]
fn an_old_claim_under_a_new_nonce_is_rejected() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &[]);
    let json = stage.run(&["check", &claim, "--nonce", OTHER_NONCE, "--json"]).expect(3).json();
    assert_eq!((&json["reason"], &json["fresh"]), (&json!("nonce"), &json!(false)));
}

#[test]
fn an_unknown_model_is_undecided_with_exit_code_4() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &[]);
    fs::remove_dir_all(stage.home()).unwrap();
    let json = stage.run(&["check", &claim, "--json"]).expect(4).json();
    assert_eq!((&json["verdict"], &json["reason"]), (&json!("undecided"), &json!("model_missing")));
    // Given the model, the same claim is accepted, and then found by its commitment too.
    stage.run(&["check", &claim, "-m", &model]).expect(0);
    stage.run(&["check", &claim]).expect(0);
    // The file is another one now: nobody's lie.
    stage.write("tiny.gguf", &SyntheticModel { seed: 2, ..tiny() }.gguf());
    stage.run(&["check", &claim]).expect(4);
    stage.write("tiny.gguf", b"no model at all");
    stage.run(&["check", &claim]).expect(4);
}

#[test]
fn a_lie_that_shows_without_the_model_is_rejected_without_it() {
    let stage = Stage::new();
    let model = stage.tiny();
    let mut claim = read_claim(&stage.claim(&model, &[]));
    claim.seed = protocol::Seed::from_bytes([7; 32]);
    let path = stage.write("changed.claim", &claim.encode());
    fs::remove_dir_all(stage.home()).unwrap();
    assert_eq!(stage.run(&["check", &path, "--json"]).expect(3).json()["reason"], "seed");
}

#[test]
fn another_model_than_the_ordered_one_is_rejected() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &[]);
    let other = stage.write("other.gguf", &SyntheticModel { seed: 2, ..tiny() }.gguf());
    let json = stage.run(&["check", &claim, "-m", &other, "--json"]).expect(3).json();
    assert_eq!(json["reason"], "model");
}

#[test]
fn another_numerics_class_is_undecided() {
    let stage = Stage::new();
    let model = stage.tiny();
    let mut claim = read_claim(&stage.claim(&model, &[]));
    claim.numerics = "maxwell-ie9-1".to_owned();
    claim.model = protocol::ModelCommitment::from_bytes([9; 32]);
    let path = stage.write("other.claim", &claim.encode());
    for more in [&[][..], &["-m", &model]] {
        let json = stage.run(&[&["check", &path, "--json"], more].concat()).expect(4).json();
        assert_eq!(json["reason"], "numerics_version_missing");
    }
}

#[test]
fn no_changed_byte_and_no_shorter_claim_is_ever_accepted() {
    const SAMPLES: usize = 48;
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &[]);
    let honest = fs::read(&claim).unwrap();
    let mut random = SplitMix64::new(20_261_123);
    for sample in 0..SAMPLES {
        let at = random.next_u64() as usize % honest.len();
        let mut bytes = honest.clone();
        let what = if sample % 4 == 0 {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        } else {
            let flip = (random.next_u64() % 255 + 1) as u8;
            bytes[at] ^= flip;
            format!("byte {at} changed by {flip:#04x}")
        };
        let path = stage.write("changed.claim", &bytes);
        let ran = stage.run(&["check", &path, "--json"]);
        assert!([1, 3, 4].contains(&ran.code), "{what}: {ran:?}");
        let json = ran.json();
        assert!(json["error"].is_string() || json["verdict"] != "accept", "{what}: {json}");
    }
    stage.run(&["check", &claim]).expect(0);
}
