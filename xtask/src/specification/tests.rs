//! Tables of promises in memory.

use super::check;
use crate::tree::Tree;

const CODE: (&str, &str) = ("crates/engine/tests/it/speed.rs", "#[test]\nfn bits() {}");

/// The message for a row with this promise and this last cell; `None` if there must be none.
#[track_caller]
fn row(promise: &str, held_by: &str, expected: Option<&str>) {
    let text = format!("| Promise | Held by |\n|---|---|\n| {promise} | {held_by} |\n");
    messages(Some(&text), expected.as_slice());
}

#[track_caller]
fn messages(text: Option<&str>, expected: &[&str]) {
    let mut files = vec![CODE];
    files.extend(text.map(|text| ("SPECIFICATION.md", text)));
    let found: Vec<_> = check(&Tree::of(&files)).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn numbers_are_held() {
    row("20 tokens per second", "`maxwell bench generate`", None);
    row("the same bits on 3 kernels", "`engine::speed::bits`", None);
    row("7B in 2 s", "not measured", None);
    row("no number", "", None);
}

#[test]
fn numbers_that_nothing_holds_are_found() {
    let nothing = "SPECIFICATION.md:3: the row has a number that nothing holds";
    row("20 tokens per second", "measured once", Some(nothing));
    row("20 tokens per second", "", Some(nothing));
    row("20 tokens per second", "maxwell bench, some day", Some(nothing));
    let gone = "SPECIFICATION.md:3: test `engine::gone` does not exist";
    row("20 tokens per second", "`engine::gone`", Some(gone));
    row("no number", "`engine::gone`", Some(gone));
}

#[test]
fn the_table_must_be_there() {
    messages(None, &["SPECIFICATION.md:1: the file is missing"]);
    messages(Some("# Specification\n"), &["SPECIFICATION.md:1: no table of promises"]);
    let other = "| Promise | Test |\n|---|---|\n| 1 | not measured |\n";
    messages(Some(other), &["SPECIFICATION.md:3: the table's last column is \"Test\""]);
}
