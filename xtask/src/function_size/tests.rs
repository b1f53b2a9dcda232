//! Function sizes in memory.

use super::check;
use crate::tree::Tree;

/// A function of that many lines, from `fn` to the closing brace.
fn function(name: &str, lines: usize) -> String {
    format!("fn {name}() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
}

#[test]
fn seventy_lines_and_no_more() {
    let text = format!("//! x\n{}{}", function("fits", 70), function("long", 71));
    let findings = check(&Tree::of(&[("a.rs", &text), ("a/tests.rs", &text), ("tests/it/a.rs", &text)]));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].path.as_str(), findings[0].line), ("a.rs", 72));
    assert!(findings[0].message.starts_with("function long has 71 lines"));
}
