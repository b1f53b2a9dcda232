//! Tables of attacks in memory.

use super::check;
use crate::tree::Tree;

const CODE: (&str, &str) = ("crates/evidence/tests/it/replay.rs", "#[test]\nfn wrong_nonce() {}");

#[track_caller]
fn messages(text: Option<&str>, expected: &[&str]) {
    let mut files = vec![CODE];
    files.extend(text.map(|text| ("THREATS.md", text)));
    let found: Vec<_> = check(&Tree::of(&files)).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}");
    }
}

fn table(last_cell: &str) -> String {
    format!("# Threats\n\n| Attack | Test |\n|---|---|\n| replay | {last_cell} |\n")
}

#[test]
fn a_row_names_a_test_that_exists() {
    messages(Some(&table("`evidence::replay::wrong_nonce`")), &[]);
    messages(Some(&table("`replay.rs::wrong_nonce` in part")), &[]);
}

#[test]
fn a_row_without_a_test_is_found() {
    messages(Some(&table("by design")), &["THREATS.md:5: the row names no test"]);
    messages(Some(&table("")), &["THREATS.md:5: the row names no test"]);
    let gone = "THREATS.md:5: test `evidence::gone` does not exist";
    messages(Some(&table("`replay.rs::wrong_nonce`, `evidence::gone`")), &[gone]);
}

#[test]
fn the_table_must_be_there() {
    messages(None, &["THREATS.md:1: the file is missing"]);
    messages(Some("# Threats\n\nNone.\n"), &["THREATS.md:1: no table of attacks"]);
    let other = "| Attack | Remedy |\n|---|---|\n| replay | `replay.rs::wrong_nonce` |\n";
    messages(Some(other), &["THREATS.md:3: the table's last column is \"Remedy\""]);
}
