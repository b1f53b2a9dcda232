//! `maxwell audit` on claims of tiny models: the ladder, the exit codes, and cheats that each rung must find.

use std::fs;

use protocol::TraceRoot;
use serde_json::json;

use crate::program::{NONCE, Stage, read_claim};

#[test]
fn an_honest_claim_is_accepted_by_every_rung() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &["--trace"]);
    assert!(read_claim(&claim).trace.is_some());
    for (confidence, check, audience) in [
        ("0", "statement", "public"),
        ("0.3", "parts", "designated"),
        ("0.999999", "designated", "designated"),
        ("1", "replay", "public"),
    ] {
        let arguments = ["audit", &claim, "--json", "--confidence", confidence, "--nonce", NONCE];
        let json = stage.run(&arguments).expect(0).json();
        assert_eq!((&json["verdict"], &json["enough"]), (&json!("accept"), &json!(true)), "{json}");
        assert_eq!(json["ran"].as_array().map(Vec::len), Some(1), "{json}");
        let ran = &json["ran"][0];
        assert_eq!((&ran["check"], &ran["audience"]), (&json!(check), &json!(audience)), "{json}");
        assert_eq!(json["ladder"].as_array().map(Vec::len), Some(5));
    }
    // A public one: by its price, a replay or the products.
    let json = stage.run(&["audit", &claim, "--json", "--public"]).expect(0).json();
    assert_eq!(json["ran"][0]["audience"], "public");
    let text = stage.run(&["audit", &claim]).expect(0).stdout;
    assert!(text.contains("Accepted") && text.contains("2^-60") && text.contains("never"), "{text}");
}

#[test]
fn without_a_root_there_is_nothing_to_open() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &[]);
    assert_eq!(read_claim(&claim).trace, None);
    let json = stage.run(&["audit", &claim, "--json", "--confidence", "0.3"]).expect(0).json();
    assert_eq!((&json["ran"][0]["check"], &json["committed"]), (&json!("designated"), &json!(false)));
    let json = stage.run(&["audit", &claim, "--json", "--public"]).expect(0).json();
    assert_eq!(json["ran"][0]["check"], "replay");
}

#[test]
fn false_claims_are_rejected_and_a_designated_rejection_is_repeated() {
    let stage = Stage::new();
    let model = stage.tiny();
    let honest = read_claim(&stage.claim(&model, &["--trace", "--ignore-end"]));
    let check = |change: &dyn Fn(&mut protocol::Claim), confidence: &str, reason: &str, ran: &[&str]| {
        let mut claim = honest.clone();
        change(&mut claim);
        let path = stage.write("changed.claim", &claim.encode());
        let arguments = ["audit", &path, "--json", "--confidence", confidence];
        let json = stage.run(&arguments).expect(3).json();
        assert_eq!((&json["verdict"], &json["reason"]), (&json!("reject"), &json!(reason)), "{json}");
        let checks: Vec<_> = json["ran"].as_array().unwrap().iter().map(|ran| ran["check"].clone()).collect();
        assert_eq!(checks, ran, "{json}");
    };
    // The output's last token: only the logits tell.
    check(&|claim| claim.output_ids[7] ^= 1, "0.999999", "output_token", &["designated", "public"]);
    let bare = |claim: &mut protocol::Claim| {
        claim.trace = None;
        claim.output_ids[7] ^= 1;
    };
    check(&bare, "0.999999", "output_token", &["designated", "replay"]);
    check(&|claim| claim.prompt_ids[0] ^= 1, "1", "logit_fingerprint", &["replay"]);
    check(&|claim| claim.seed = protocol::Seed::from_bytes([7; 32]), "0", "seed", &["statement"]);
    // A root of nothing: the right output with a wrong trace is a lie as well.
    let root = |claim: &mut protocol::Claim| claim.trace = Some(TraceRoot::from_bytes([7; 32]));
    check(&root, "0.3", "execution_trace", &["parts", "public"]);
    check(&root, "0.999999", "execution_trace", &["designated", "public"]);
}

#[test]
fn a_budget_that_is_too_small_leaves_it_undecided() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &["--trace"]);
    let json = stage.run(&["audit", &claim, "--json", "--budget", "0"]).expect(4).json();
    assert_eq!((&json["verdict"], &json["reason"]), (&json!("undecided"), &json!("confidence_missing")));
    assert_eq!(json["ran"], json!([]));
    let arguments = ["audit", &claim, "--budget", "0", "--confidence", "1"];
    assert!(stage.run(&arguments).expect(4).stdout.contains("Undecided"));
    stage.run(&["audit", &claim, "--confidence", "1.1"]).expect(2);
    stage.run(&["audit"]).expect(2);
    let elsewhere = Stage::new();
    let copy = elsewhere.write("x.claim", &fs::read(&claim).unwrap());
    assert_eq!(elsewhere.run(&["audit", &copy, "--json"]).expect(4).json()["reason"], "model_missing");
}

#[test]
fn prepared_vectors_are_secret_sealed_and_rotated() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &[]);
    let first = stage.run(&["audit", "prepare", &model, "--json"]).expect(0).json();
    assert_eq!(first["rotated"], false);
    let path = first["vectors"].as_str().unwrap().to_owned();
    let before = fs::read(&path).unwrap();
    stage.run(&["audit", &claim]).expect(0);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(stage.run(&["audit", "prepare", &model, "--json"]).expect(0).json()["rotated"], true);
    assert_ne!(fs::read(&path).unwrap(), before);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let key = stage.home().join("audit").join("key");
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // Damaged ones are nobody's lie.
    let mut damaged = fs::read(&path).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let ran = stage.run(&["audit", &claim]).expect(1);
    assert!(ran.stderr.contains("prepare"), "{ran:?}");
}
