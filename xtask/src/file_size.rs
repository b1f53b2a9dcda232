//! No file longer than a reader can hold in mind. Generated data must not pass as source.

use crate::finding::Finding;
use crate::tree::Tree;

#[cfg(test)]
mod tests;

/// Most lines of a source file.
const MAX_LINES: usize = 800;
/// What counts as source.
const SOURCE: [&str; 4] = [".rs", ".py", ".sh", ".js"];

/// Checks every source file, tests included.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let is_source = |path: &str| SOURCE.iter().any(|suffix| path.ends_with(suffix));
    tree.files
        .iter()
        .filter(|file| is_source(&file.path))
        .filter_map(|file| {
            let lines = file.text.lines().count();
            let message =
                format!("{lines} lines, the limit is {MAX_LINES}; split the file along an idea in it");
            (lines > MAX_LINES).then(|| Finding::new(&file.path, MAX_LINES + 1, message))
        })
        .collect()
}
