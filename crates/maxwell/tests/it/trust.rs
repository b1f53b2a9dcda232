//! `maxwell keygen`, `maxwell whitelist` and `maxwell receipt`, as two parties, a gateway and a client use them.

use std::fs;

use gateway::tokenizer_file::open_tokenizer;
use model::synthetic::SyntheticModel;
use protocol::group_tree::{GroupVerifier, Outboard};
use protocol::receipt::{FinishCode, ReceiptMode, RequestTag, response_digest};
use protocol::whitelist::authorize;
use protocol::{
    ChainHash, ClaimDigest, ModelCommitment, Nonce, Receipt, RequestDigest, SignedWhitelist, SigningKey,
};
use serde_json::{Value, json};

use crate::program::{Ran, Stage, tiny};

/// Makes a key and gives its file and the public one's.
fn keygen(stage: &Stage, name: &str) -> (String, String) {
    let secret = stage.argument(name);
    stage.run(&["keygen", &secret]).expect(0);
    let public = format!("{secret}.pub");
    (secret, public)
}

fn read_key(path: &str) -> SigningKey {
    fs::read_to_string(path).unwrap().trim_end().parse().unwrap()
}

/// A whitelist with the tiny model, not signed, and its path.
fn whitelist(stage: &Stage) -> (String, Value) {
    let model = stage.tiny();
    let file = stage.argument("list/whitelist.cbor");
    fs::create_dir_all(stage.path("list")).unwrap();
    let json = stage.run(&["whitelist", "add", &model, "--file", &file, "--json"]).expect(0).json();
    (file, json)
}

fn sign(stage: &Stage, file: &str, key: &str) {
    stage.run(&["whitelist", "sign", "--file", file, "--key", key]).expect(0);
}

fn show(stage: &Stage, file: &str, parties: [&str; 2], more: &[&str]) -> Ran {
    let [one, other] = parties;
    let arguments = ["whitelist", "show", "--file", file, "--party", one, "--party", other, "--json"];
    stage.run(&[&arguments[..], more].concat())
}

#[test]
fn a_key_is_written_once_and_never_printed() {
    let stage = Stage::new();
    let out = stage.argument("gateway.key");
    let ran = stage.run(&["keygen", &out, "--json"]).expect(0);
    let json = ran.json();
    let key = read_key(&out);
    assert_eq!(json["public"], key.verifying_key().to_string());
    assert_eq!(json["key_id"], key.verifying_key().id().to_string());
    let public = fs::read_to_string(format!("{out}.pub")).unwrap();
    assert_eq!(public, format!("{}\n", key.verifying_key()));
    assert!(!format!("{ran:?}").contains("mxsk1"), "{ran:?}");
    let before = fs::read(&out).unwrap();
    let again = stage.run(&["keygen", &out]).expect(1);
    assert!(again.stderr.contains("never overwritten"), "{again:?}");
    // Neither half is lost if only one is there.
    fs::remove_file(format!("{out}.pub")).unwrap();
    stage.run(&["keygen", &out]).expect(1);
    assert_eq!(fs::read(&out).unwrap(), before);
    assert!(!stage.path("gateway.key.pub").exists());
    assert!(!stage.home().exists(), "keygen needs no home");
    let (one, other) = (keygen(&stage, "one.key"), keygen(&stage, "other.key"));
    assert_ne!(fs::read(one.0).unwrap(), fs::read(other.0).unwrap());
}

#[cfg(unix)]
#[test]
fn a_secret_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::new();
    let (secret, public) = keygen(&stage, "a.key");
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&secret), 0o600);
    assert_eq!(mode(&public) & 0o400, 0o400);
    let (file, _) = whitelist(&stage);
    let arguments = ["whitelist", "sign", "--file", &file, "--key", &secret];
    assert_eq!(stage.run(&arguments).expect(0).stderr, "");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = stage.run(&arguments).expect(0);
    assert!(ran.stderr.contains("others may read this secret"), "{ran:?}");
}

#[test]
fn two_parties_allow_a_model() {
    let stage = Stage::new();
    let (alice, alice_pub) = keygen(&stage, "alice.key");
    let (bob, bob_pub) = keygen(&stage, "bob.key");
    let (file, added) = whitelist(&stage);
    let parties = [alice_pub.as_str(), bob_pub.as_str()];
    assert_eq!(
        (&added["version"], &added["changed"], &added["name"]),
        (&json!(1), &json!(true), &json!("tiny"))
    );
    let reason = |ran: Ran| ran.expect(3).json()["reason"].clone();
    assert_eq!(reason(show(&stage, &file, parties, &[])), "signature_missing");
    sign(&stage, &file, &alice);
    assert_eq!(reason(show(&stage, &file, parties, &[])), "signature_missing");
    assert_eq!(reason(show(&stage, &file, [&alice_pub, &alice_pub], &[])), "same_party");
    sign(&stage, &file, &bob);
    let json = show(&stage, &file, parties, &["--lowest-version", "1"]).expect(0).json();
    assert_eq!((&json["verdict"], &json["reason"]), (&json!("accept"), &Value::Null));
    assert_eq!(json["entries"][0]["commitment"], added["commitment"]);
    assert_eq!(json["signatures"].as_array().unwrap().len(), 2);
    assert_eq!(reason(show(&stage, &file, parties, &["--lowest-version", "2"])), "rollback");
    // The key itself instead of its file.
    let alice_text = read_key(&alice).verifying_key().to_string();
    show(&stage, &file, [&alice_text, &bob_pub], &[]).expect(0);
    let text = stage.run(&["whitelist", "show", "--file", &file]).expect(0).stdout;
    assert!(text.contains("Not checked") && text.contains("model tiny "), "{text}");
}

/// What the gateway does with the three files.
#[test]
fn the_files_next_to_the_list_are_those_that_it_names() {
    let stage = Stage::new();
    let (alice, _) = keygen(&stage, "alice.key");
    let (bob, _) = keygen(&stage, "bob.key");
    let (file, added) = whitelist(&stage);
    sign(&stage, &file, &alice);
    sign(&stage, &file, &bob);
    let signed = SignedWhitelist::decode(&fs::read(&file).unwrap()).unwrap();
    let parties = [&alice, &bob].map(|path| read_key(path).verifying_key());
    let list = authorize(&signed, &parties, 0, 0).unwrap();
    let entry = list.by_name("tiny", 0).unwrap();
    let path = |field: &str| added[field].as_str().unwrap().to_owned();
    let tokenizer = open_tokenizer(&fs::read(path("tokenizer_file")).unwrap(), &entry).unwrap();
    assert_eq!(tokenizer.vocabulary(), tiny().vocab);
    let head = entry.entry().weights;
    let outboard = Outboard::decode(&fs::read(path("outboard_file")).unwrap(), &head).unwrap();
    let mut verifier = GroupVerifier::new(head, outboard).unwrap();
    for (index, group) in (0..).zip(tiny().gguf().chunks(1 << 20)) {
        verifier.verify(index, group).unwrap();
    }
    verifier.finish().unwrap();
    let inspected = stage.run(&["inspect", &stage.argument("tiny.gguf"), "--json"]).expect(0).json();
    assert_eq!(inspected["commitment"], entry.entry().model.to_string());
    assert_eq!(inspected["template_digest"], json!(entry.entry().template.map(|digest| digest.to_string())));
    let named = |ending: &str, digest: &Value| format!("{}.{ending}", digest.as_str().unwrap());
    assert!(path("tokenizer_file").ends_with(&named("tokenizer", &added["tokenizer_digest"])));
    assert!(path("outboard_file").ends_with(&named("outboard", &added["weights_root"])));
}

#[test]
fn a_change_drops_signatures_and_raises_the_version() {
    let stage = Stage::new();
    let (alice, alice_pub) = keygen(&stage, "alice.key");
    let (bob, bob_pub) = keygen(&stage, "bob.key");
    let parties = [alice_pub.as_str(), bob_pub.as_str()];
    let (file, added) = whitelist(&stage);
    let add = |model: &str, more: &[&str]| {
        let arguments = ["whitelist", "add", model, "--file", &file, "--json"];
        stage.run(&[&arguments[..], more].concat()).expect(0).json()
    };
    let sign_both = || {
        sign(&stage, &file, &alice);
        sign(&stage, &file, &bob);
    };
    sign_both();
    // The same again changes nothing and keeps the signatures.
    let tiny_file = stage.argument("tiny.gguf");
    assert_eq!(add(&tiny_file, &[])["changed"], false);
    show(&stage, &file, parties, &[]).expect(0);
    let other = stage.write("other.gguf", &SyntheticModel { seed: 2, ..tiny() }.gguf());
    assert_eq!(add(&other, &[])["version"], 2);
    let shown = show(&stage, &file, parties, &[]).expect(3).json();
    assert_eq!((&shown["reason"], &shown["signatures"]), (&json!("signature_missing"), &json!([])));
    assert_eq!(shown["entries"].as_array().unwrap().len(), 2);
    sign_both();
    // Another model under the old name.
    let third = stage.write("third.gguf", &SyntheticModel { seed: 3, ..tiny() }.gguf());
    assert_eq!(add(&third, &["--name", "tiny"])["version"], 3);
    sign_both();
    let shown = show(&stage, &file, parties, &[]).expect(0).json();
    let versions: Vec<&Value> =
        shown["entries"].as_array().unwrap().iter().map(|entry| &entry["version"]).collect();
    assert_eq!(versions, [2, 3]);
    // An expiry in the past, then a revocation.
    add(&third, &["--name", "tiny", "--expires", "1"]);
    sign_both();
    assert_eq!(show(&stage, &file, parties, &[]).expect(3).json()["reason"], "expired");
    let commitment = added["commitment"].as_str().unwrap();
    let revoked = stage.run(&["whitelist", "revoke", commitment, "--file", &file, "--json"]).expect(0).json();
    assert_eq!((&revoked["version"], &revoked["changed"]), (&json!(5), &json!(true)));
    let again = stage.run(&["whitelist", "revoke", commitment, "--file", &file, "--json"]).expect(0).json();
    assert_eq!((&again["version"], &again["changed"]), (&json!(5), &json!(false)));
    let shown = stage.run(&["whitelist", "show", "--file", &file, "--json"]).expect(0).json();
    assert_eq!(shown["revoked"], json!([commitment]));
}

#[test]
fn wrong_whitelist_arguments_say_what_to_do() {
    let stage = Stage::new();
    let (alice, alice_pub) = keygen(&stage, "alice.key");
    let (file, _) = whitelist(&stage);
    let one = ["whitelist", "show", "--file", &file, "--party", &alice_pub];
    assert!(stage.run(&one).expect(2).stderr.contains("--party twice"), "one party only");
    // A public key where a secret belongs, and the other way around.
    let ran = stage.run(&["whitelist", "sign", "--file", &file, "--key", &alice_pub]).expect(1);
    assert!(ran.stderr.contains("begins with mxsk1"), "{ran:?}");
    let ran = show(&stage, &file, [&alice, &alice_pub], &[]).expect(1);
    assert!(ran.stderr.contains("begins with mxpk1") && !ran.stderr.contains("mxsk1"), "{ran:?}");
    // A secret on the command line is not repeated on the terminal.
    let secret = read_key(&alice).to_secret_text();
    let ran = show(&stage, &file, [&secret, &alice_pub], &[]).expect(2);
    assert!(ran.stderr.contains("a secret key") && !format!("{ran:?}").contains(&secret), "{ran:?}");
    let ran = stage.run(&["whitelist", "sign", "--file", &file, "--key", &secret]).expect(2);
    assert!(ran.stderr.contains("a secret key") && !format!("{ran:?}").contains(&secret), "{ran:?}");
    // No list at all.
    let missing = stage.argument("missing.cbor");
    stage.run(&["whitelist", "show", "--file", &missing]).expect(1);
    stage.run(&["whitelist", "sign", "--file", &missing, "--key", &alice]).expect(1);
    assert!(!stage.path("missing.cbor").exists());
    let broken = stage.write("broken.cbor", b"no list");
    let model = stage.argument("tiny.gguf");
    stage.run(&["whitelist", "add", &model, "--file", &broken]).expect(1);
    assert_eq!(fs::read(&broken).unwrap(), b"no list");
    // One model, two names.
    let ran = stage.run(&["whitelist", "add", &model, "--name", "again", "--file", &file]).expect(1);
    assert!(ran.stderr.contains("two names"), "{ran:?}");
    stage.run(&["whitelist", "add", &model, "--name", "No Name", "--file", &file]).expect(2);
}

fn receipt(key: &SigningKey, response: &[u8]) -> Receipt {
    Receipt {
        version: 1,
        gateway: key.verifying_key().id(),
        tag: RequestTag { counter: 3, nonce: Nonce::from_bytes([1; 32]) },
        model: ModelCommitment::from_bytes([2; 32]),
        template: None,
        request: RequestDigest::from_bytes([4; 32]),
        response: response_digest(response),
        prompt_tokens: 12,
        output_tokens: 7,
        finish: FinishCode::EndToken,
        claim: Some(ClaimDigest::from_bytes([6; 32])),
        chain: ChainHash::from_bytes([7; 32]),
        sequence: 41,
        issued_unix_ms: 1_790_000_000_123,
        mode: ReceiptMode::Exact,
    }
}

#[test]
fn a_receipt_is_genuine_for_its_key_and_response() {
    let stage = Stage::new();
    let (secret, public) = keygen(&stage, "gateway.key");
    let (_, other_public) = keygen(&stage, "other.key");
    let key = read_key(&secret);
    let expected = receipt(&key, b"Rayleigh scattering.");
    let bytes = expected.sign(&key).unwrap();
    let file = stage.write("answer.receipt", &bytes);
    let response = stage.write("answer.txt", b"Rayleigh scattering.");
    let verify = |key: &str, more: &[&str]| {
        stage.run(&[&["receipt", "verify", &file, "--key", key, "--json"], more].concat())
    };
    let json = verify(&public, &["--response", &response]).expect(0).json();
    assert_eq!((&json["verdict"], &json["response_checked"]), (&json!("accept"), &json!(true)));
    assert_eq!(json["receipt"], expected.to_json());
    let json = verify(&key.verifying_key().to_string(), &[]).expect(0).json();
    assert_eq!(json["response_checked"], false);
    assert_eq!(verify(&other_public, &[]).expect(3).json()["reason"], "other_key");
    let longer = stage.write("longer.txt", b"Rayleigh scattering.\n");
    assert_eq!(verify(&public, &["--response", &longer]).expect(3).json()["reason"], "response");
    let text = stage.run(&["receipt", "verify", &file, "--key", &public]).expect(0).stdout;
    assert!(text.contains("passed through") && text.contains("not checked"), "{text}");
    // Of an answer that was passed through it proves less, and says so.
    let passed =
        Receipt { claim: None, finish: FinishCode::Delivered, mode: ReceiptMode::PassThrough, ..expected };
    let passed = stage.write("passed.receipt", &passed.sign(&key).unwrap());
    let said = stage.run(&["receipt", "verify", &passed, "--key", &public]).expect(0).stdout;
    assert!(said.contains("proves delivery, not computation"), "{said}");
    assert!(!text.contains("proves delivery, not computation"), "{text}");
    // A file that is not there, and a key that is none, are nobody's lie.
    let missing = stage.argument("missing.txt");
    verify(&public, &["--response", &missing]).expect(1);
    verify("mxpk1", &[]).expect(1);
    verify(&secret, &[]).expect(1);
}

#[test]
fn a_changed_receipt_is_rejected() {
    const STEP: usize = 13;
    let stage = Stage::new();
    let (secret, public) = keygen(&stage, "gateway.key");
    let key = read_key(&secret);
    let bytes = receipt(&key, b"").sign(&key).unwrap();
    // Each byte is changed in the tests of the crate `protocol`; here only the way through the command.
    for at in (0..bytes.len()).step_by(STEP) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let file = stage.write("changed.receipt", &changed);
        let ran = stage.run(&["receipt", "verify", &file, "--key", &public, "--json"]).expect(3);
        assert_eq!(ran.json()["verdict"], "reject", "byte {at}");
    }
    for wrong in [&b""[..], b"no receipt", &[0; 5000]] {
        let file = stage.write("changed.receipt", wrong);
        stage.run(&["receipt", "verify", &file, "--key", &public]).expect(3);
    }
}

#[test]
fn help_has_examples() {
    let stage = Stage::new();
    for command in [
        &["keygen"][..],
        &["whitelist"],
        &["whitelist", "add"],
        &["whitelist", "revoke"],
        &["whitelist", "sign"],
        &["whitelist", "show"],
        &["receipt", "verify"],
        &["gateway"],
        &["gateway", "keys"],
        &["gateway", "keys", "add"],
        &["gateway", "keys", "list"],
        &["gateway", "keys", "revoke"],
    ] {
        let text = stage.run(&[command, &["--help"]].concat()).expect(0).stdout;
        assert!(text.contains("Examples:"), "{command:?}: {text}");
    }
}
