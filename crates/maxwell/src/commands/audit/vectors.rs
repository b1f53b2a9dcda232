//! The auditor's secret vectors in files: sealed, readable by the owner alone, made anew on request. Must never print,
//! send or log one.

use std::fs;

use anyhow::{Context, bail};
use clap::Args;
use evidence::field::Mersenne61;
use evidence::freivalds::{MAX_SEALED_BYTES, Prepared, seal, unseal};
use model::Model;
use serde_json::json;

use crate::commands::Shell;
use crate::home::{create_folder, read_bounded, write_atomic};
use crate::keys::store_secret;
use crate::models;
use crate::output::{Exit, Finished};
use crate::random::random_bytes;

/// Largest file of a key: 64 digits and a line break.
const MAX_KEY_BYTES: usize = 1 << 10;

/// Arguments of `maxwell audit prepare`.
#[derive(Debug, Args)]
pub(crate) struct PrepareArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(value_name = "MODEL")]
    model: String,
}

/// Runs `maxwell audit prepare`: new vectors, in place of old ones.
pub(super) fn run(arguments: &PrepareArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    let path = shell.home.audit_vectors(&opened.model.commitment);
    let had = path.exists();
    make(shell, &opened.model)?;
    let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let json = json!({
        "commitment": opened.model.commitment.to_string(),
        "vectors": path,
        "bytes": bytes,
        "rotated": had,
    });
    let text = format!(
        "{} secret vectors for {} in {}, sealed, {} kB\nAudits of this model take a pass over no weights from now on. \
         Never give the folder away: who knows the vectors can pass wrong products.",
        if had { "New" } else { "First" },
        opened.display_name(),
        path.display(),
        bytes / 1000,
    );
    Ok(Finished { exit: Exit::Ok, json, text })
}

/// The model's vectors: those of the file, or new ones.
pub(super) fn load(shell: &Shell, model: &Model) -> anyhow::Result<Prepared<Mersenne61>> {
    let path = shell.home.audit_vectors(&model.commitment);
    if !path.exists() {
        shell.terminal.note(format_args!("no vectors are prepared for this model: making them, once"));
        return make(shell, model);
    }
    let bytes = read_bounded(&path, MAX_SEALED_BYTES)?;
    unseal(&bytes, model, &key(shell)?)
        .with_context(|| format!("{}; `maxwell audit prepare MODEL` makes new ones", path.display()))
}

fn make(shell: &Shell, model: &Model) -> anyhow::Result<Prepared<Mersenne61>> {
    let path = shell.home.audit_vectors(&model.commitment);
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    let key = key(shell)?;
    let prepared = Prepared::new(model, &random_bytes()?);
    write_atomic(&path, &seal(&prepared, &model.commitment, &key, &random_bytes()?))?;
    Ok(prepared)
}

/// The key that seals them; drawn the first time.
fn key(shell: &Shell) -> anyhow::Result<[u8; 32]> {
    let path = shell.home.audit_key();
    if !path.exists() {
        let drawn = random_bytes()?;
        store_secret(&path, &hex::encode(drawn))?;
    }
    let text = read_bounded(&path, MAX_KEY_BYTES)?;
    let mut key = [0; 32];
    if hex::decode_to_slice(text.trim_ascii(), &mut key).is_err() {
        bail!("{} is not the key of audit vectors: it must hold 64 hexadecimal digits", path.display());
    }
    Ok(key)
}
