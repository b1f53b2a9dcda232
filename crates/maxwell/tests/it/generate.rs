//! `maxwell generate` on tiny models: streams, claims, JSON, and the same bits whatever the machine does.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use model::import::Architecture;
use model::synthetic::SyntheticModel;
use protocol::FinishReason;

use crate::program::{NONCE, Stage, read_claim, tiny};

#[test]
fn the_claim_does_not_depend_on_threads_or_kernels() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claims = [&[][..], &["--threads", "1"], &["--threads", "3"], &["--kernels", "portable"]]
        .map(|more| fs::read(stage.claim(&model, more)).unwrap());
    for claim in &claims[1..] {
        assert_eq!(claim, &claims[0]);
    }
}

#[test]
fn every_family_writes_a_claim_that_is_accepted() {
    for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3]
    {
        let stage = Stage::new();
        let model = stage.write("m.gguf", &SyntheticModel::tiny(architecture).gguf());
        let claim = stage.claim(&model, &[]);
        stage.run(&["check", &claim, "--nonce", NONCE]).expect(0);
    }
}

#[test]
fn standard_output_is_the_text_of_the_claim() {
    let stage = Stage::new();
    let claim_path = stage.argument("y.claim");
    let model = stage.tiny();
    let ran = stage.run(&[
        "generate",
        "-m",
        &model,
        "-p",
        "the end",
        "-n",
        "24",
        "--temperature",
        "0.8",
        "--nonce",
        NONCE,
        "--claim",
        &claim_path,
    ]);
    let claim = read_claim(&claim_path);
    assert_eq!(ran.stdout, format!("{}\n", String::from_utf8_lossy(&claim.output_bytes)));
    assert!(ran.stderr.contains("tok/s"), "figures on standard error: {}", ran.stderr);
    assert_eq!(claim.nonce.to_string(), NONCE);
    assert!(claim.template.is_some());
}

#[test]
fn json_is_one_object_that_agrees_with_the_claim() {
    let stage = Stage::new();
    let model = stage.tiny();
    let path = stage.argument("x.claim");
    let ran = stage.run(&[
        "generate",
        "-m",
        &model,
        "-p",
        "a",
        "-n",
        "5",
        "--ignore-end",
        "--nonce",
        NONCE,
        "--claim",
        &path,
        "--json",
        "--quiet",
    ]);
    assert_eq!(ran.stderr, "", "quiet");
    let json = ran.json();
    let claim = read_claim(&path);
    assert_eq!(json["commitment"], claim.model.to_string());
    assert_eq!(json["claim_digest"], claim.digest().to_string());
    assert_eq!(json["output_tokens"], 5);
    assert_eq!(json["prompt_tokens"], claim.prompt_ids.len());
    assert_eq!(json["finish"], "length");
    assert_eq!(json["nonce_source"], "given");
    assert_eq!(json["out_of_range_position"], serde_json::Value::Null);
    for number in
        ["load_seconds", "first_token_seconds", "prefill_tokens_per_second", "decode_tokens_per_second"]
    {
        assert!(json[number].is_number(), "{number}");
    }
}

#[test]
fn settings_reach_the_claim_exactly() {
    let stage = Stage::new();
    let model = stage.tiny();
    let path = stage.argument("x.claim");
    let ran = stage.run(&[
        "generate",
        "-m",
        &model,
        "-p",
        "a",
        "-n",
        "3",
        "--temperature",
        "0.7",
        "--top-k",
        "40",
        "--top-p",
        "0.95",
        "--min-p",
        "0.05",
        "--repetition-penalty",
        "1.1",
        "--raw",
        "--seed",
        "my words",
        "--claim",
        &path,
    ]);
    ran.expect(0);
    let claim = read_claim(&path);
    let settings = claim.settings;
    assert_eq!((settings.temperature_milli, settings.top_k), (700, 40));
    assert_eq!((settings.top_p_ppm, settings.min_p_ppm), (950_000, 50_000));
    assert_eq!((settings.repetition_penalty_milli, settings.max_tokens), (1100, 3));
    assert!(settings.stop_at_end);
    assert_eq!(claim.template, None, "--raw");
    assert_ne!(*claim.client_seed.as_bytes(), [0; 32], "words make a seed");
}

#[test]
fn a_nonce_is_drawn_anew_and_shown_where_none_is_given() {
    let stage = Stage::new();
    let model = stage.tiny();
    let nonces = [0, 1].map(|_| {
        let ran = stage.run(&["generate", "-m", &model, "-p", "a", "-n", "1", "--json"]).expect(0);
        let json = ran.json();
        let nonce = json["nonce"].as_str().unwrap().to_owned();
        assert!(ran.stderr.contains(&nonce) && ran.stderr.contains("verifier"), "{}", ran.stderr);
        assert_eq!(json["nonce_source"], "drawn");
        nonce
    });
    assert_ne!(nonces[0], nonces[1]);
}

#[test]
fn the_prompt_can_come_from_standard_input() {
    let stage = Stage::new();
    let model = stage.tiny();
    let arguments = ["generate", "-m", &model, "-n", "2", "--nonce", NONCE, "--json", "-p"];
    let named = stage.run(&[&arguments[..], &["and the end"]].concat()).expect(0);
    let mut command = stage.command(&stage.home());
    let mut child =
        command.args(arguments).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"and the end").unwrap();
    let output = child.wait_with_output().unwrap();
    let piped: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(piped["claim_digest"], named.json()["claim_digest"]);
}

#[test]
fn a_full_context_ends_the_output_and_the_claim_is_accepted() {
    let stage = Stage::new();
    let model = stage.write("short.gguf", &SyntheticModel { context: 24, ..tiny() }.gguf());
    let path = stage.argument("x.claim");
    let ran =
        stage.run(&["generate", "-m", &model, "-p", "0123456789", "--raw", "--ignore-end", "--claim", &path]);
    ran.expect(0);
    assert_eq!(read_claim(&path).finish, FinishReason::ContextFull);
    stage.run(&["check", &path]).expect(0);
}
