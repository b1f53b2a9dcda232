//! Banned words in memory.

use super::check;
use crate::tree::Tree;

/// The lines on which a finding is made for one file.
#[track_caller]
fn lines(path: &str, text: &str, expected: &[usize]) {
    let findings = check(&Tree::of(&[(path, text)]));
    assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), expected, "{findings:?}");
}

const MODEL: &str = "crates/model/src/ops.rs";
const GATEWAY: &str = "crates/gateway/src/shell.rs";

#[test]
fn macros_and_attributes_are_found_in_code_only() {
    for word in ["todo!()", "unimplemented!()", "dbg!(x)", "#[allow(dead_code)]", "#![allow(dead_code)]"] {
        lines(GATEWAY, &format!("//! x\n{word}\n"), &[2]);
        lines(GATEWAY, &format!("//! never {word}\nlet x = \"{word}\";\n"), &[]);
        lines("xtask/src/banned.rs", word, &[]);
        lines("docs/style.md", word, &[]);
    }
    lines(GATEWAY, "#[expect(dead_code, reason = \"r\")]\nmytodo!()", &[]);
}

#[test]
fn comments_may_not_ask_for_repair() {
    lines(GATEWAY, "//! x\n// FIXME later\n", &[2]);
    lines("crates/gateway/Cargo.toml", "# FIXME later\n", &[1]);
    lines(GATEWAY, "// TODO(#12) later\n", &[]);
}

#[test]
fn pure_crates_have_no_clock_and_no_random_order() {
    for word in ["Instant::now", "SystemTime"] {
        lines(MODEL, &format!("use x;\nlet y = {word}::new();"), &[2]);
        lines(GATEWAY, &format!("use x;\nlet y = {word}::new();"), &[]);
    }
    lines(MODEL, "struct MySystemTimeLike;", &[]);
}

#[test]
fn the_message_names_the_replacement() {
    let findings = check(&Tree::of(&[(MODEL, "use std::time::SystemTime;")]));
    let expected = "crates/model/src/ops.rs:1: `SystemTime` is banned here; take the time as an argument; clocks live in the shells";
    assert_eq!(findings.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}
