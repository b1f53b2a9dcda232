//! The Python packages that tests use as other people's clients and servers: one environment in the target folder, pinned
//! by version and hash. Must never change an environment of the user's, nor install what is not in the list.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::steps::target_folder;

/// The list, from the root.
const REQUIREMENTS: &str = "crates/maxwell/tests/clients/requirements.txt";
/// The environment, in the folder that cargo gives tests for their files.
const FOLDER: &str = "tmp/clients-venv";

/// Whether python3 is there with pip and venv.
pub(crate) fn has_pip() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import pip, venv, ensurepip"]).stdout(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

/// Makes the environment, or makes it again if the list changed. Without pip the tests that need it say that they are
/// skipped; with pip a failure is a failure, so that they can't be skipped unseen.
pub(crate) fn install(root: &Path) -> anyhow::Result<()> {
    if !has_pip() {
        println!("xtask: SKIPPED: python3 has no pip or venv, so the tests with Python clients are left out");
        return Ok(());
    }
    let list = root.join(REQUIREMENTS);
    let wanted = fs::read_to_string(&list).with_context(|| format!("can't read {REQUIREMENTS}"))?;
    let folder = target_folder(root).join(FOLDER);
    let mark = folder.join("installed.txt");
    let is_there = |folder: &Path| folder.join("bin/python").exists();
    if is_there(&folder) && fs::read_to_string(&mark).ok().as_ref() == Some(&wanted) {
        return Ok(());
    }
    println!("xtask: installing the packages of {REQUIREMENTS} into {FOLDER} of the target folder");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    run(pip.args(["--only-binary=:all:", "--require-hashes", "-r"]).arg(&list))?;
    fs::write(&mark, wanted).context("can't mark the environment as complete")
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().context("python3 could not be started")?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}
