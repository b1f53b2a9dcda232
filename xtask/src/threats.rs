//! THREATS.md is executable: every attack in it names the test that shows how it fails. An attack without a test must
//! not be listed as stopped.
//!
//! Format: Markdown tables, as many as you like, whose last column is called `Test`. Each row's last cell names at
//! least one test in backticks in a form of [`crate::test_index`], and every test that it names exists.

use crate::finding::Finding;
use crate::markdown::rows;
use crate::test_index::TestIndex;
use crate::tree::Tree;

#[cfg(test)]
mod tests;

const PATH: &str = "THREATS.md";
const COLUMN: &str = "Test";

/// Checks every row of every table.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.file(PATH) else {
        let message =
            "the file is missing; write the table of attacks, last column `Test`, see xtask/src/threats.rs";
        return vec![Finding::new(PATH, 1, message)];
    };
    let rows = rows(&file.text);
    if rows.is_empty() {
        let message = "no table of attacks; write one whose last column is `Test`, see xtask/src/threats.rs";
        return vec![Finding::new(PATH, 1, message)];
    }
    let index = TestIndex::new(tree);
    let mut findings = Vec::new();
    for row in rows {
        let mut report = |message: String| findings.push(Finding::new(PATH, row.line, message));
        if row.last_column != COLUMN {
            report(format!("the table's last column is \"{}\"; call it `{COLUMN}`", row.last_column));
            continue;
        }
        let references = index.references(row.cells.last().map_or("", String::as_str));
        if references.is_empty() {
            report(
                "the row names no test; name one as `crate::module::test_fn` or `file.rs::test_fn`"
                    .to_owned(),
            );
        }
        for (reference, _) in references.iter().filter(|(_, exists)| !exists) {
            report(format!(
                "test `{reference}` does not exist or is ignored; name the one that shows the attack"
            ));
        }
    }
    findings
}
