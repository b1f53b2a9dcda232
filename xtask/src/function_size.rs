//! No function longer than one screen. Tests are exempt: a table of cases may be long.

use crate::finding::Finding;
use crate::rust_text::functions;
use crate::tree::Tree;

#[cfg(test)]
mod tests;

/// Most lines of a function, from the word `fn` to its closing brace.
const MAX_LINES: usize = 70;

/// Checks every function outside of tests.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.rust().filter(|file| !file.is_test());
    files
        .flat_map(|file| {
            functions(&file.code).into_iter().filter(|function| function.lines > MAX_LINES).map(|function| {
                let message = format!(
                    "function {} has {} lines, the limit is {MAX_LINES}; name its steps as functions",
                    function.name, function.lines
                );
                Finding::new(&file.path, function.line, message)
            })
        })
        .collect()
}
