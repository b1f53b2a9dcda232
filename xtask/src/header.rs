//! Every Rust file says on its first line what it is for. Must not judge how well it says it.

use crate::finding::Finding;
use crate::tree::Tree;

#[cfg(test)]
mod tests;

/// Checks line one of every Rust file.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let has_header =
        |text: &str| text.strip_prefix("//! ").is_some_and(|rest| rest.starts_with(|c| c != '\n'));
    let message = "line one must be `//! ` and say what the file is for and what it must never do";
    tree.rust()
        .filter(|file| !has_header(&file.text))
        .map(|file| Finding::new(&file.path, 1, message))
        .collect()
}
