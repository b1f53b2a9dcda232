//! `unsafe` only where speed was measured to need it. A new place must be argued for before it is listed here.

use crate::finding::Finding;
use crate::rust_text::has_word;
use crate::tree::Tree;

#[cfg(test)]
mod tests;

/// Modules that may hold `unsafe`: the file of this name and everything below the directory of this name.
const ALLOWED: [&str; 2] = ["crates/engine/src/kernels", "crates/proof-system/src/kernels"];

/// Checks every Rust file.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let allowed = |path: &str| {
        ALLOWED.iter().any(|module| {
            path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    };
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| !allowed(&file.path)) {
        for (index, line) in file.code.lines().enumerate() {
            if has_word(line, "unsafe") {
                let message =
                    format!("`unsafe` outside of {}; move it there or do without", ALLOWED.join(", "));
                findings.push(Finding::new(&file.path, index + 1, message));
            }
        }
    }
    findings
}
