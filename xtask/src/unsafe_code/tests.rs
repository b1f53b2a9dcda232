//! Places of `unsafe` in memory.

use super::check;
use crate::tree::Tree;

#[test]
fn only_kernels_hold_it() {
    let code = "//! x\nunsafe { y() }\n";
    let files = [
        ("crates/engine/src/kernels.rs", code),
        ("crates/engine/src/kernels/avx2.rs", code),
        ("crates/engine/src/kernels_more.rs", code),
        ("crates/engine/src/cache.rs", code),
        ("crates/model/src/kernels/a.rs", code),
        ("crates/model/src/lib.rs", "//! No unsafe.\n#![forbid(unsafe_code)]\n// unsafe\n"),
    ];
    let found: Vec<_> = check(&Tree::of(&files)).into_iter().map(|f| (f.path, f.line)).collect();
    let expected =
        ["crates/engine/src/kernels_more.rs", "crates/engine/src/cache.rs", "crates/model/src/kernels/a.rs"];
    assert_eq!(found, expected.map(|path| (path.to_owned(), 2)));
}
