//! Absolute paths in memory.

use super::{ROOTS, check};
use crate::tree::Tree;

#[track_caller]
fn found(line: &str, expected: bool) {
    let findings = check(&Tree::of(&[("README.md", &format!("first\n{line}\n"))]));
    let lines: Vec<_> = findings.iter().map(|finding| finding.line).collect();
    assert_eq!(lines, if expected { vec![2] } else { vec![] }, "{line}");
}

#[test]
fn paths_of_one_machine_are_found() {
    for root in ROOTS {
        found(&format!("{root}anna/model.gguf"), true);
        found(&format!("let x = \"{root}x\";"), true);
        found(&format!("--model={root}x"), true);
        found(&format!("file://{root}x"), true);
    }
}

#[test]
fn other_paths_are_not() {
    for root in ROOTS {
        found(&format!("https://example.com{root}x"), false);
        found(&format!("docs{root}x"), false);
        found(&format!("..{root}x"), false);
        found(&format!("~{root}x"), false);
        found(&format!("${{DIR}}{root}x"), false);
    }
    found("/etc/os-release and /dev/null", false);
}
