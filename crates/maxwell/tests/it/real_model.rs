//! The real model, pulled once into a cache that all runs of the tests share. Only where pip is missing are these
//! tests left out, and they say so; MAXWELL_TEST_REAL=0 leaves them out too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;

use crate::program::{NONCE, Stage, run};

const MODEL: &str = "smollm2-135m";

/// The home with the model in it: that of the user who runs the tests if it is there, else one beside the build.
fn real_home(stage: &Stage) -> Option<PathBuf> {
    // Several tests of one process pull at once otherwise; several processes wait for each other's lock.
    static PULL: Mutex<()> = Mutex::new(());
    if std::env::var_os("MAXWELL_TEST_REAL").is_some_and(|value| value == "0") {
        return skip("MAXWELL_TEST_REAL is 0");
    }
    let user = std::env::var_os("MAXWELL_HOME").map(PathBuf::from);
    if let Some(user) = user.filter(|home| home.join("models").join(MODEL).is_dir()) {
        return Some(user);
    }
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("maxwell-home");
    let _guard = PULL.lock().unwrap();
    if !home.join("models").join(MODEL).join("model.gguf").is_file() && !has_pip() {
        return skip("python3 with pip is missing, so the model can't be fetched");
    }
    // The settings of pip come from the environment where a network needs them.
    let mut command = stage.command(&home);
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PIP_")));
    run(command.env("HOME", std::env::var_os("HOME").unwrap_or_default()).args(["pull", MODEL])).expect(0);
    Some(home)
}

#[expect(clippy::print_stdout, reason = "whoever runs the tests should see that some were left out")]
fn skip(reason: &str) -> Option<PathBuf> {
    println!("SKIPPED: tests on the real model are left out: {reason}");
    None
}

fn has_pip() -> bool {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn json_of(stage: &Stage, home: &Path, arguments: &[&str], code: i32) -> Value {
    let mut command = stage.command(home);
    run(command.args(arguments).arg("--json")).expect(code).json()
}

#[test]
fn the_demo_accepts_one_claim_and_rejects_five_cheats() {
    let stage = Stage::new();
    let Some(home) = real_home(&stage) else { return };
    let json = json_of(&stage, &home, &["demo", "--tokens", "32", "--nonce", NONCE], 0);
    assert_eq!(json["ok"], true);
    assert_eq!(json["output_tokens"], 32);
    assert_eq!(json["cases"].as_array().unwrap().len(), 6);
}

#[test]
fn the_answer_is_right_and_its_claim_is_accepted() {
    let stage = Stage::new();
    let Some(home) = real_home(&stage) else { return };
    let claim = stage.argument("real.claim");
    let question =
        ["generate", "-m", MODEL, "-p", "What is the capital of France?", "-n", "8", "--nonce", NONCE];
    let json = json_of(&stage, &home, &[&question[..], &["--claim", &claim]].concat(), 0);
    assert!(json["text"].as_str().unwrap().contains("Paris"), "{json}");
    let alone = json_of(&stage, &home, &[&question[..], &["--threads", "1"]].concat(), 0);
    assert_eq!(alone["claim_digest"], json["claim_digest"]);
    let verdict = json_of(&stage, &home, &["check", &claim, "--nonce", NONCE], 0);
    assert_eq!((&verdict["verdict"], &verdict["fresh"]), (&"accept".into(), &true.into()));
}

#[test]
fn plain_and_vector_instructions_write_the_same_claim() {
    let stage = Stage::new();
    let Some(home) = real_home(&stage) else { return };
    // Short, since plain code is slow.
    let request = ["generate", "-m", MODEL, "-p", "Once upon", "--raw", "-n", "3", "--temperature", "0.8"];
    let request = [&request[..], &["--nonce", NONCE]].concat();
    let vector = json_of(&stage, &home, &request, 0);
    let plain = json_of(&stage, &home, &[&request[..], &["--kernels", "portable"]].concat(), 0);
    assert_eq!(plain["kernels"], "portable");
    assert_eq!(plain["claim_digest"], vector["claim_digest"]);
}

#[test]
fn the_model_is_what_the_documents_say() {
    let stage = Stage::new();
    let Some(home) = real_home(&stage) else { return };
    let json = json_of(&stage, &home, &["inspect", MODEL], 0);
    let shapes = &json["shapes"];
    assert_eq!(
        (&shapes["blocks"], &shapes["width"], &shapes["vocabulary"]),
        (&30.into(), &576.into(), &49152.into())
    );
    assert_eq!(json["parameters"], 134_515_008, "the published number of parameters");
    assert_eq!(json["commitment"].as_str().unwrap().len(), 64);
}
