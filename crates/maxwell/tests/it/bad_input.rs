//! What people and files get wrong: each has its exit code, a message that says what to do, and never a panic.

use std::fs;

use crate::program::{NONCE, Stage, files, run, tiny};

/// Runs with a tiny model where `MODEL` stands, as text and with `--json`.
fn check(arguments: &[&str], code: i32, message: &str) {
    let stage = Stage::new();
    let model = stage.tiny();
    let mut arguments: Vec<&str> =
        arguments.iter().map(|a| if *a == "MODEL" { model.as_str() } else { a }).collect();
    let ran = stage.run(&arguments).expect(code);
    assert!(ran.stderr.contains(message), "{arguments:?} should say {message:?}: {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    arguments.push("--json");
    let ran = stage.run(&arguments).expect(code);
    assert!(ran.json()["error"].is_string(), "{ran:?}");
    assert_eq!(ran.json()["exit_code"], code);
}

#[test]
fn wrong_arguments_end_with_exit_code_2() {
    let generate = ["generate", "-m", "MODEL", "-p", "a"];
    let with = |more: &[&'static str]| [&generate[..], more].concat();
    check(&[], 2, "Usage");
    check(&["nonsense"], 2, "nonsense");
    check(&["generate", "-m", "MODEL"], 2, "--prompt");
    check(&["generate", "-m", "MODEL", "-p", ""], 2, "the prompt is empty");
    check(&["generate", "-m", "MODEL", "-p", "", "--raw"], 2, "the prompt is empty");
    check(&with(&["-n", "0"]), 2, "max_tokens");
    check(&with(&["-n", "1048577"]), 2, "max_tokens");
    check(&with(&["-n", "99999999999"]), 2, "99999999999");
    check(&with(&["--temperature", "101"]), 2, "temperature_milli");
    check(&with(&["--temperature", "0.009"]), 2, "temperature_milli");
    check(&with(&["--temperature", "0.0001"]), 2, "more than 3 digits");
    check(&with(&["--temperature", "-1"]), 2, "-1");
    check(&with(&["--temperature", "nan"]), 2, "not a decimal number");
    check(&with(&["--temperature", "1e1000"]), 2, "not a decimal number");
    check(&with(&["--top-p", "0"]), 2, "top_p_ppm");
    check(&with(&["--top-p", "1.5"]), 2, "top_p_ppm");
    check(&with(&["--min-p", "2"]), 2, "min_p_ppm");
    check(&with(&["--top-k", "-3"]), 2, "-3");
    check(&with(&["--repetition-penalty", "0"]), 2, "repetition_penalty_milli");
    check(&with(&["--nonce", "123"]), 2, "64 hexadecimal digits");
    check(&with(&["--threads", "0"]), 2, "--threads");
    check(&with(&["--raw", "--system", "x"]), 2, "--system");
    check(&["check"], 2, "<FILE>");
    check(&["pull"], 2, "MODEL");
    check(&["pull", "gpt-9"], 2, "smollm2-135m");
    check(&["pull", "--file", "MODEL", "--name", "../x"], 2, "no name for a model");
    check(&["demo", "--tokens", "1"], 2, "--tokens");
}

#[test]
fn what_the_model_can_not_do_ends_with_exit_code_1() {
    let long = "a".repeat(600);
    check(&["generate", "-m", "MODEL", "-p", &long], 1, "the model's context holds 512");
    check(&["generate", "-m", "nothing", "-p", "a"], 1, "maxwell pull");
    check(&["generate", "-m", "MODEL", "-p", "a", "--claim", "missing-folder/x.claim"], 1, "can't write");
    check(&["check", "missing.claim"], 1, "can't read");
    check(&["check", "MODEL"], 1, "MXCLAIM1");
    check(&["inspect", "/dev/null"], 1, "no model");
}

#[test]
fn a_model_without_template_needs_raw() {
    let stage = Stage::new();
    let mut writer = tiny().writer();
    writer.remove("tokenizer.chat_template");
    let model = stage.write("plain.gguf", &writer.finish());
    let ran = stage.run(&["generate", "-m", &model, "-p", "a", "-n", "2"]).expect(1);
    assert!(ran.stderr.contains("--raw"), "{}", ran.stderr);
    stage.run(&["generate", "-m", &model, "-p", "a", "-n", "2", "--raw"]).expect(0);
}

#[test]
fn broken_models_are_refused_by_name_and_leave_nothing() {
    let whole = tiny().gguf();
    let mut unknown_tensor = tiny().writer();
    unknown_tensor.tensor_mut("output_norm.weight").name = b"surprise.weight".to_vec();
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("empty", Vec::new(), "not a GGUF file"),
        ("text", b"hello, I am no model".to_vec(), "not a GGUF file"),
        ("cut", whole[..whole.len() / 2].to_vec(), "cut short"),
        ("longer", [&whole[..], &[1; 4096]].concat(), "oversized"),
        ("unknown", unknown_tensor.finish(), "output_norm.weight"),
    ];
    for (name, bytes, message) in cases {
        let stage = Stage::new();
        let path = stage.write(&format!("{name}.gguf"), &bytes);
        for arguments in
            [vec!["inspect", &path], vec!["generate", "-m", &path, "-p", "a"], vec!["pull", "--file", &path]]
        {
            let ran = stage.run(&arguments).expect(1);
            assert!(ran.stderr.contains(message), "{name}: {}", ran.stderr);
        }
        let left: Vec<String> = files(&stage.home()).into_iter().filter(|file| file != "pull.lock").collect();
        assert_eq!(left, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn standard_input_that_is_not_utf8_is_refused_at_its_byte() {
    let stage = Stage::new();
    let model = stage.tiny();
    let input = stage.write("input", b"good\xffbad");
    let mut command = stage.command(&stage.home());
    command.args(["generate", "-m", &model, "-p", "-", "--nonce", NONCE]);
    let ran = run(command.stdin(fs::File::open(input).unwrap())).expect(1);
    assert!(ran.stderr.contains("byte 4"), "{}", ran.stderr);
}
