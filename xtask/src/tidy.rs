//! Checks of the tree that the compiler does not make. Reads files and must never change one.

use std::path::Path;

use anyhow::bail;

use crate::finding::Finding;
use crate::tree::Tree;
use crate::{
    banned, file_size, function_size, header, layers, machine_paths, specification, threats, unsafe_code,
};

/// Every check, in the order of the report's lines for one place.
const CHECKS: [fn(&Tree) -> Vec<Finding>; 9] = [
    banned::check,
    file_size::check,
    function_size::check,
    header::check,
    layers::check,
    machine_paths::check,
    specification::check,
    threats::check,
    unsafe_code::check,
];

/// Prints every finding; fails if there is one.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::read(root)?;
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(&tree)).collect();
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, {} checks, nothing found", tree.files.len(), CHECKS.len());
            Ok(())
        }
        count => bail!("tidy: {count} findings, each with its remedy above"),
    }
}
