//! No path of one particular machine in the tree: it would be wrong on every other. Must not touch relative paths or
//! addresses on the web.

use crate::finding::Finding;
use crate::tree::Tree;

#[cfg(test)]
mod tests;

/// Beginnings of paths that belong to one machine. In pieces, so that this file passes its own check.
const ROOTS: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// Checks every text file.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for (index, line) in file.text.lines().enumerate() {
            for root in ROOTS.iter().filter(|root| has_path(line, root)) {
                let message = format!(
                    "`{root}` is a path of one machine; take it as an argument or from the environment, or write a \
                     relative path"
                );
                findings.push(Finding::new(&file.path, index + 1, message));
            }
        }
    }
    findings
}

/// Whether an absolute path begins with `root`: nothing before it makes it the middle of a longer one.
fn has_path(line: &str, root: &str) -> bool {
    line.match_indices(root).any(|(at, _)| {
        let before = &line[..at];
        let inside = |c: char| c.is_alphanumeric() || "._-~}$*>)]".contains(c);
        before.ends_with("file://") || !before.ends_with(|c| inside(c) || c == '/')
    })
}
