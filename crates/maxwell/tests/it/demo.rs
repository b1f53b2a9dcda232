//! `maxwell demo` on a tiny model: one claim accepted, five rejected, each for its reason.

use serde_json::{Value, json};

use crate::program::{NONCE, Stage, files};

#[test]
fn one_claim_is_accepted_and_five_cheats_are_rejected() {
    let stage = Stage::new();
    let model = stage.tiny();
    let arguments = ["demo", "-m", &model, "--tokens", "12", "--nonce", NONCE];
    let json = stage.run(&[&arguments[..], &["--json"]].concat()).expect(0).json();
    assert_eq!(json["ok"], true);
    let cases = json["cases"].as_array().unwrap();
    let seen: Vec<(&Value, &Value)> = cases.iter().map(|case| (&case["verdict"], &case["reason"])).collect();
    let (accept, reject) = (json!("accept"), json!("reject"));
    let reasons =
        ["output_token", "logit_fingerprint", "output_token", "logit_fingerprint", "nonce"].map(|r| json!(r));
    let expected: Vec<(&Value, &Value)> =
        [(&accept, &Value::Null)].into_iter().chain(reasons.iter().map(|reason| (&reject, reason))).collect();
    assert_eq!(seen, expected);
    assert!(cases.iter().all(|case| case["seconds"].is_number()));
    assert_eq!(json["proof"]["as_expected"], true);
    assert!(json["proof"]["security_bits"].as_u64() >= Some(100));
    let text = stage.run(&arguments).expect(0).stdout;
    for words in [
        "honest claim",
        "truncated prompt",
        "Not shown: at temperature 0",
        "one step",
        "Proof of the honest claim",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!files(&stage.home()).iter().any(|file| file.ends_with(".claim")), "the demo cleans up");
}
