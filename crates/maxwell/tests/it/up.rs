//! `maxwell up` on a tiny model: the honest server passes every check, and each cheat ends in an alarm and a killed
//! server.

use model::import::Architecture;
use model::synthetic::SyntheticModel;
use serde_json::{Value, json};

use crate::program::{Stage, files};

/// Runs the self-test with every answer recomputed.
fn selftest(more: &[&str]) -> Value {
    let stage = Stage::new();
    // Enough blocks that some can be missing, and enough context for a template and an answer.
    let model = SyntheticModel { blocks: 6, context: 512, ..SyntheticModel::tiny(Architecture::Llama) };
    let model = stage.write("tiny.gguf", &model.gguf());
    let arguments =
        ["up", "--selftest", "--json", "--eps", "1", "--port", "0", "--requests", "12", "-m", &model];
    let json = stage.run(&[&arguments[..], more].concat()).expect(0).json();
    let left: Vec<String> = files(&stage.home()).into_iter().filter(|file| file.starts_with("up/")).collect();
    assert!(left.is_empty(), "a run leaves nothing behind: {left:?}");
    json
}

#[test]
fn an_honest_server_passes_every_check() {
    let json = selftest(&[]);
    assert_eq!((&json["requests"], &json["answers"], &json["sampled"]), (&12.into(), &12.into(), &12.into()));
    assert_eq!(json["verdicts"], json!({ "pass": 12, "fail": 0, "unverifiable": 0 }));
    assert_eq!((&json["alarm"], &json["server_killed"]), (&Value::Null, &false.into()));
}

#[test]
fn a_kept_log_shows_that_every_pick_was_due() {
    let stage = Stage::new();
    let model = SyntheticModel { context: 512, ..SyntheticModel::tiny(Architecture::Llama) };
    let model = stage.write("tiny.gguf", &model.gguf());
    let folder = stage.argument("kept");
    let up = ["up", "--selftest", "--json", "--eps", "0.4", "--port", "0", "--requests", "20", "-m", &model];
    let sampled = stage.run(&[&up[..], &["--log", &folder]].concat()).expect(0).json()["sampled"].clone();
    let json = stage.run(&["log", "audit-sampling", &folder, "--json"]).expect(0).json();
    assert_eq!((&json["answers"], &json["picked"], &json["waiting"]), (&20.into(), &sampled, &0.into()));
    assert_eq!(json["findings"], json!([]));
    // Without its key the log is closed.
    std::fs::write(stage.path("kept").join("log.key"), "00".repeat(32)).unwrap();
    stage.run(&["log", "audit-sampling", &folder]).expect(1);
}

#[test]
fn files_that_hold_no_api_keys_are_refused() {
    let stage = Stage::new();
    let model = stage.tiny();
    for keys in ["", "0123456789abcdef\n", "{\"version\":2,\"keys\":[]}"] {
        let file = stage.write("keys", keys.as_bytes());
        let ran = stage.run(&["up", "--port", "0", "-m", &model, "--api-keys", &file]).expect(1);
        assert!(ran.stderr.contains("API keys"), "{ran:?}");
    }
}

/// Canaries are among the jobs of both recomputers: neither blames the server for them.
#[test]
fn two_recomputers_pass_an_honest_server_and_convict_a_cheat() {
    let json = selftest(&["--second"]);
    assert_eq!(json["verdicts"], json!({ "pass": 12, "fail": 0, "unverifiable": 0 }));
    assert_eq!((&json["alarm"], &json["server_killed"]), (&Value::Null, &false.into()));
    let json = selftest(&["--second", "--cheat", "tamper"]);
    assert_eq!((&json["alarm"], &json["server_killed"]), (&"output_token".into(), &true.into()));
}

#[test]
fn the_bench_of_replays_compares_equal_verdicts() {
    let stage = Stage::new();
    let json = stage.run(&["bench", "replay", "-m", &stage.tiny(), "--tokens", "8", "--runs", "1", "--json"]);
    let json = json.expect(0).json();
    assert_eq!((&json["answers"], &json["runs"]), (&8.into(), &1.into()));
    assert!(json["batch_speedup"].as_f64().is_some_and(|ratio| ratio > 0.0), "{json}");
}

fn check_cheat(cheat: &str, reasons: &[&str]) {
    let json = selftest(&["--cheat", cheat]);
    assert_eq!(json["server_killed"], true, "{json}");
    assert!(reasons.contains(&json["alarm"].as_str().unwrap()), "{json}");
    assert!(json["seconds_to_alarm"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_changed_token_is_caught() {
    check_cheat("tamper", &["output_token"]);
}

#[test]
fn a_changed_logprob_is_caught() {
    check_cheat("logprobs", &["logprob"]);
}

#[test]
fn a_truncated_prompt_is_caught() {
    check_cheat("truncate", &["logit_fingerprint"]);
}

#[test]
fn a_cached_answer_is_caught() {
    check_cheat("replay", &["logit_fingerprint"]);
}

#[test]
fn other_weights_are_caught() {
    check_cheat("quantized", &["logit_fingerprint"]);
}

#[test]
fn a_smaller_model_is_caught() {
    check_cheat("smaller-model", &["logit_fingerprint"]);
}
