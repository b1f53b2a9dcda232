//! The project's own chores, in Rust so that they need nothing but the toolchain. Must never be needed to build or
//! run the product.
//!
//! | command | what it does |
//! |---|---|
//! | `cargo xtask tidy` | checks of the tree that the compiler does not make, see [`tidy`] |
//! | `cargo xtask test` | tidy, then every test of the workspace |
//! | `cargo xtask ci` | format, lints, then `cargo xtask test` |
//! | `cargo xtask ci --portable` | the same, then the engine's tests as on a processor without wide vectors, and a guest's |
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its terminal")]

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

mod banned;
mod clients;
mod file_size;
mod finding;
mod function_size;
mod header;
mod layers;
mod machine_paths;
mod markdown;
mod rust_text;
mod specification;
mod steps;
mod test_index;
mod threats;
mod tidy;
mod tree;
mod unsafe_code;

const USAGE: &str = "usage: cargo xtask tidy | test | ci [--portable]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let root = root()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy::run(&root),
        ["test"] => steps::test(&root),
        ["ci"] => steps::ci(&root, false),
        ["ci", "--portable"] => steps::ci(&root, true),
        _ => bail!("{USAGE}"),
    }
}

/// The workspace's root. Asked at run time: a path compiled in would point to another checkout if both share one
/// target directory.
fn root() -> anyhow::Result<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").context("run this through cargo: cargo xtask ..")?;
    let manifest = PathBuf::from(manifest);
    manifest.parent().map(PathBuf::from).context("xtask has no directory above it")
}
