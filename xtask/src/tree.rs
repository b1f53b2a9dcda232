//! The files of the project, read once for all checks. Must not judge them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::rust_text::code_view;

/// Larger files are data, which no check reads.
const MAX_TEXT_BYTES: u64 = 2 << 20;
/// Directories that are never part of the project; used where git cannot be asked.
const SKIPPED_DIRECTORIES: [&str; 4] = ["target", ".git", "__pycache__", "node_modules"];

/// All text files of the project, sorted by path.
pub(crate) struct Tree {
    pub(crate) files: Vec<TextFile>,
}

/// One text file.
pub(crate) struct TextFile {
    /// Path from the workspace's root, with `/` between its parts.
    pub(crate) path: String,
    pub(crate) text: String,
    /// For Rust, the text with comments and literals blanked out, line for line and column for column; else empty.
    pub(crate) code: String,
}

impl Tree {
    /// Reads the files that git knows or would add, or all files where git cannot say.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut paths = match git_files(root) {
            Some(paths) => paths,
            None => {
                let mut paths = Vec::new();
                walk(root, "", &mut paths)?;
                paths
            }
        };
        paths.sort();
        let files = paths.into_iter().filter_map(|path| {
            let full = root.join(&path);
            let metadata = fs::symlink_metadata(&full).ok()?;
            // A file that is deleted but not yet committed, a link or a large file: nothing to read.
            if !metadata.is_file() || metadata.len() > MAX_TEXT_BYTES {
                return None;
            }
            let text = String::from_utf8(fs::read(&full).ok()?).ok()?;
            Some(TextFile::new(path, text))
        });
        Ok(Self { files: files.collect() })
    }

    /// A tree in memory, for tests.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| TextFile::new((*path).to_owned(), (*text).to_owned());
        Self { files: files.iter().map(file).collect() }
    }

    /// The Rust files.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &TextFile> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// The file at exactly this path.
    pub(crate) fn file(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl TextFile {
    fn new(path: String, text: String) -> Self {
        let code = if path.ends_with(".rs") { code_view(&text) } else { String::new() };
        Self { path, text, code }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file holds tests only.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.split('/').any(|part| part == "tests")
    }
}

/// Files that are tracked, or untracked but not ignored: what a commit of everything would hold.
fn git_files(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let list = String::from_utf8(output.stdout).ok()?;
    let mut paths: Vec<String> =
        list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    // A path in conflict is listed once per side.
    paths.dedup();
    Some(paths)
}

/// Appends the paths of all files below `root/prefix`.
fn walk(root: &Path, prefix: &str, paths: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(root.join(prefix))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            if !SKIPPED_DIRECTORIES.contains(&name.as_str()) {
                walk(root, &path, paths)?;
            }
        } else {
            paths.push(path);
        }
    }
    Ok(())
}
