//! Which tests exist, so that documents can name them. A test that is ignored or commented out must not count.
//!
//! A document names a test in backticks, in one of two forms:
//! - `crate::module::test_fn`: the crate's folder name, then parts that must all occur in the test's file path (any
//!   number, `it` and `tests` included), then the function;
//! - `path/to/file.rs::test_fn`: the end of the test's file path, then the function.

use crate::rust_text::{functions, word_offsets};
use crate::tree::{TextFile, Tree};

#[cfg(test)]
mod tests;

/// All tests of the tree.
pub(crate) struct TestIndex {
    tests: Vec<Test>,
}

struct Test {
    path: String,
    name: String,
}

impl TestIndex {
    /// Finds every function behind `#[test]` or `#[tokio::test]`, in `proptest!` blocks too.
    pub(crate) fn new(tree: &Tree) -> Self {
        let tests = tree
            .rust()
            .flat_map(|file| test_names(file).into_iter().map(|name| Test { path: file.path.clone(), name }));
        Self { tests: tests.collect() }
    }

    /// Whether the reference names a test that exists.
    pub(crate) fn holds(&self, reference: &str) -> bool {
        let Some((place, name)) = reference.rsplit_once("::") else { return false };
        self.tests.iter().any(|test| test.name == name && is_at(&test.path, place))
    }

    /// The references in a table cell, each with whether its test exists.
    pub(crate) fn references<'a>(&self, cell: &'a str) -> Vec<(&'a str, bool)> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.filter(|text| is_reference(text)).map(|text| (text, self.holds(text))).collect()
    }
}

/// Whether the text has the form of a reference.
fn is_reference(text: &str) -> bool {
    text.contains("::") && !text.contains(char::is_whitespace)
}

/// Whether a file lies where the front part of a reference says.
fn is_at(path: &str, place: &str) -> bool {
    if place.ends_with(".rs") {
        return path.strip_suffix(place).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    }
    let mut parts = place.split("::");
    let folder = parts.next().unwrap_or_default();
    let Some(inside) = path.strip_prefix("crates/").unwrap_or(path).strip_prefix(folder) else {
        return false;
    };
    let Some(inside) = inside.strip_prefix('/') else { return false };
    let mut components = inside.trim_end_matches(".rs").split('/');
    // In the same order, so that a reference reads like the path.
    parts.all(|part| components.any(|component| component == part))
}

fn test_names(file: &TextFile) -> Vec<String> {
    let code = &file.code;
    let functions = functions(code);
    word_offsets(code, "#[test]")
        .chain(word_offsets(code, "#[tokio::test"))
        .filter_map(|at| {
            let function = functions.iter().find(|function| function.start > at)?;
            // Other attributes stand between, or on the lines before.
            let between = &code[at..function.start];
            let attributes_before = code[..at]
                .lines()
                .rev()
                .map(str::trim)
                .take_while(|line| line.is_empty() || line.starts_with("#["));
            let ignored = |text: &str| text.contains("#[ignore");
            let counts = !ignored(between) && !attributes_before.into_iter().any(ignored);
            counts.then(|| function.name.clone())
        })
        .collect()
}
