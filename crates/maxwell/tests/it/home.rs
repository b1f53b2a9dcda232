//! Where files appear: in MAXWELL_HOME and where the user said, nowhere else.

use crate::program::{NONCE, Stage, files, run};

#[test]
fn nothing_is_written_outside_of_the_home_and_the_named_files() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &[]);
    stage.run(&["check", &claim, "--nonce", NONCE]).expect(0);
    stage.run(&["inspect", &model]).expect(0);
    stage.run(&["pull", "--file", &model, "--name", "kept"]).expect(0);
    stage.run(&["demo", "-m", "kept", "--tokens", "6", "--nonce", NONCE]).expect(0);
    assert_eq!(files(&stage.path("cwd")), Vec::<String>::new(), "the working folder");
    assert!(!stage.path("user").exists(), "the user's own home");
    let outside: Vec<String> =
        files(&stage.path(".")).into_iter().filter(|file| !file.starts_with("home/")).collect();
    assert_eq!(outside, ["tiny.gguf", "x.claim"]);
    let mut tops: Vec<String> =
        files(&stage.home()).iter().map(|file| file.split('/').next().unwrap().to_owned()).collect();
    tops.dedup();
    assert_eq!(tops, ["commitments", "formats", "models", "pull.lock"]);
}

#[test]
fn without_the_variable_the_home_is_in_the_users_home() {
    let stage = Stage::new();
    let model = stage.tiny();
    let mut command = stage.command(&stage.home());
    run(command.env_remove("MAXWELL_HOME").args(["inspect", &model])).expect(0);
    assert!(stage.path("user/.maxwell/formats").is_dir());
}

#[test]
fn help_has_examples_for_every_command() {
    let stage = Stage::new();
    for command in [
        &[][..],
        &["pull"],
        &["inspect"],
        &["generate"],
        &["check"],
        &["demo"],
        &["bench"],
        &["bench", "quality"],
        &["bench", "engine"],
    ] {
        let ran = stage.run(&[command, &["--help"]].concat()).expect(0);
        assert!(ran.stdout.contains("Examples:\n  maxwell "), "{command:?}: {}", ran.stdout);
    }
}
