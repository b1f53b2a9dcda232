//! File sizes in memory.

use super::check;
use crate::tree::Tree;

#[test]
fn eight_hundred_lines_and_no_more() {
    let fits = "\n".repeat(800);
    let long = "\n".repeat(801);
    let files = [("a.rs", fits.as_str()), ("b/tests.rs", &long), ("c.py", &long), ("d.md", &long)];
    let paths: Vec<_> = check(&Tree::of(&files)).into_iter().map(|finding| finding.path).collect();
    assert_eq!(paths, ["b/tests.rs", "c.py"]);
}
