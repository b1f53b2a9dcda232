//! First lines in memory.

use super::check;
use crate::tree::Tree;

#[test]
fn line_one_says_what_the_file_is_for() {
    let files = [
        ("good.rs", "//! Reads tensors.\nfn x() {}"),
        ("late.rs", "\n//! Reads tensors."),
        ("plain.rs", "// Reads tensors."),
        ("blank.rs", "//! \nfn x() {}"),
        ("empty.rs", ""),
        ("readme.md", "Reads tensors."),
    ];
    let paths: Vec<_> = check(&Tree::of(&files)).into_iter().map(|finding| finding.path).collect();
    assert_eq!(paths, ["late.rs", "plain.rs", "blank.rs", "empty.rs"]);
}
