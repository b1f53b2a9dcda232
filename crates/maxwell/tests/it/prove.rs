//! `maxwell prove` and `maxwell verify` on claims of tiny models: the whole way by files, and each exit code.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

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

/// Whoever has only the manifest needs no model, and is not misled by another manifest or a proof for others.
#[test]
fn a_manifest_stands_for_the_model() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &[]);
    let proof = stage.argument("thin.proof");
    let proven = stage.run(&["prove", &claim, "-o", &proof, "--thin", "--json"]).expect(0).json();
    assert_eq!(proven["phases"].as_array().map(Vec::len), Some(7));
    let manifest = stage.argument("tiny.manifest");
    let made = stage.run(&["manifest", &model, "-o", &manifest, "--json"]).expect(0).json();
    let digest = made["digest"].as_str().expect("a digest");

    // On a machine where the model never was.
    let elsewhere = Stage::new();
    let verify = ["verify", &claim, &proof, "--manifest", &manifest];
    elsewhere.run(&["verify", &claim, &proof]).expect(1);
    let verified = elsewhere.run(&[&verify[..], &["--json"]].concat()).expect(0).json();
    assert_eq!(verified["verdict"], "accept");
    assert_eq!((&verified["mode"], &verified["manifest_digest"]), (&"manifest".into(), &made["digest"]));
    elsewhere.run(&[&verify[..], &["--manifest-digest", digest]].concat()).expect(0);
    let zeros = "0".repeat(64);
    let refused = elsewhere.run(&[&verify[..], &["--manifest-digest", &zeros]].concat()).expect(1).stderr;
    assert!(refused.contains("another manifest"), "{refused}");

    let mut changed = read_claim(&claim);
    changed.output_ids[0] ^= 1;
    let path = stage.write("changed.claim", &changed.encode());
    elsewhere.run(&["verify", &path, &proof, "--manifest", &manifest]).expect(3);
    // A proof for whoever holds the model is no lie, and no evidence either.
    let bare = stage.argument("bare.proof");
    stage.run(&["prove", &claim, "-o", &bare]).expect(0);
    let text = elsewhere.run(&["verify", &claim, &bare, "--manifest", &manifest]).expect(4).stdout;
    assert!(text.starts_with("Undecided: "), "{text}");
    // Another commitment to weights, and bytes that are no manifest.
    let mut bytes = fs::read(&manifest).expect("the manifest");
    let root = hex::decode(made["weights_commitment"].as_str().expect("a root")).expect("hexadecimal");
    let place = bytes.windows(32).position(|window| window == root).expect("the root is in it");
    bytes[place] ^= 1;
    let other = stage.write("other.manifest", &bytes);
    let text = elsewhere.run(&["verify", &claim, &proof, "--manifest", &other]).expect(3).stdout;
    assert!(text.contains("the weights: "), "{text}");
    let cut = stage.write("cut.manifest", &bytes[..place]);
    elsewhere.run(&["verify", &claim, &proof, "--manifest", &cut]).expect(1);
}

/// A prover that answers in the background.
struct Answering(Child);

impl Answering {
    /// Returns when it listens.
    fn start(stage: &Stage, arguments: &[&str]) -> Self {
        let mut command = stage.command(&stage.home());
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.as_mut().expect("piped")).lines();
        let listening = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("listening at")));
        assert!(listening.is_some(), "it ended before it listened");
        Self(child)
    }

    /// What it said in the end.
    fn finish(self) -> String {
        let output = self.0.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }
}

/// A verifier with a tape talks with the prover; each entry serves once, and only who led the conversation is convinced.
#[test]
fn a_conversation_stands_for_the_model() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &[]);
    let proof = stage.argument("bare.proof");
    stage.run(&["prove", &claim, "-o", &proof]).expect(0);
    let (manifest, tape) = (stage.argument("tiny.manifest"), stage.argument("my.tape"));
    stage.run(&["manifest", &model, "-o", &manifest]).expect(0);
    let made = stage.run(&["tape", &model, "-o", &tape, "-n", "2", "--json"]).expect(0).json();
    assert_eq!(made["entries"], 2);

    let socket = stage.argument("prover.socket");
    let verify =
        ["verify", &claim, &proof, "--manifest", &manifest, "--tape", &tape, "--prover", &socket, "--json"];
    // Nobody answers: nothing is burned, and nothing shown.
    let alone = stage.run(&verify).expect(4).json();
    assert_eq!(alone["verdict"], "undecided");
    let answering =
        Answering::start(&stage, &["converse", &claim, &proof, "--listen", &socket, "--count", "2"]);
    let verified = stage.run(&verify).expect(0).json();
    assert_eq!((&verified["verdict"], &verified["mode"]), (&"accept".into(), &"tape".into()));
    assert_eq!(verified["evidence"], "designated");
    stage.run(&verify).expect(0);
    assert!(answering.finish().starts_with("2 conversations held"));
    let used = fs::read(&tape).expect("the tape");
    assert!(used[56..].iter().all(|byte| *byte == 0), "both entries are burned");

    // A prover with other weights, and an entry that is used up.
    stage.run(&["tape", &model, "-o", &tape, "-n", "1"]).expect(0);
    let mut bytes = fs::read(&tape).expect("the tape");
    *bytes.last_mut().expect("a value") ^= 1;
    let wrong = stage.write("wrong.tape", &bytes);
    let answering = Answering::start(&stage, &["converse", &claim, &proof, "--listen", &socket]);
    let mut other = verify;
    other[6] = &wrong;
    let text = stage.run(&other).expect(3).json()["message"].to_string();
    assert!(text.contains("weights"), "{text}");
    answering.finish();
    let text = stage.run(&other).expect(4).json()["message"].to_string();
    assert!(!text.is_empty(), "{text}");
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
