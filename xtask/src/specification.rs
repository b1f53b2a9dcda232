//! SPECIFICATION.md is held: every number in it names what holds it. A number that nothing holds must say so.
//!
//! Format: Markdown tables, as many as you like, whose last column is called `Held by`. If any other cell of a row has
//! a digit, the last cell names in backticks a test in a form of [`crate::test_index`] or a command that begins with
//! `maxwell bench`, or it says: not measured. Every test that it names exists.

use crate::finding::Finding;
use crate::markdown::{Row, rows};
use crate::test_index::TestIndex;
use crate::tree::Tree;

#[cfg(test)]
mod tests;

const PATH: &str = "SPECIFICATION.md";
const COLUMN: &str = "Held by";

/// Checks every row of every table.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.file(PATH) else {
        let message = "the file is missing; write the table of promises, last column `Held by`, see xtask/src/specification.rs";
        return vec![Finding::new(PATH, 1, message)];
    };
    let rows = rows(&file.text);
    if rows.is_empty() {
        let message =
            "no table of promises; write one whose last column is `Held by`, see xtask/src/specification.rs";
        return vec![Finding::new(PATH, 1, message)];
    }
    let index = TestIndex::new(tree);
    let finding = |row: &Row, message| Finding::new(PATH, row.line, message);
    rows.iter()
        .flat_map(|row| check_row(row, &index).into_iter().map(|message| finding(row, message)))
        .collect()
}

/// What is wrong with one row.
fn check_row(row: &Row, index: &TestIndex) -> Vec<String> {
    if row.last_column != COLUMN {
        return vec![format!("the table's last column is \"{}\"; call it `{COLUMN}`", row.last_column)];
    }
    let Some((held_by, promise)) = row.cells.split_last() else { return Vec::new() };
    let references = index.references(held_by);
    let mut messages: Vec<String> = references
        .iter()
        .filter(|(_, exists)| !exists)
        .map(|(reference, _)| {
            format!("test `{reference}` does not exist or is ignored; name the one that holds this")
        })
        .collect();
    let has_number = promise.iter().any(|cell| cell.chars().any(|c| c.is_ascii_digit()));
    let held =
        !references.is_empty() || held_by.contains("`maxwell bench") || held_by.contains("not measured");
    if has_number && !held {
        messages.push("the row has a number that nothing holds; name a test or a `maxwell bench ..` command, or write: not measured".to_owned());
    }
    messages
}
