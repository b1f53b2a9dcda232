//! `maxwell log epochs` and `export-epoch`: what outsiders get of a log. Never writes a text that passed the gateway.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::open;
use crate::output::{Exit, Finished};

/// Arguments of `maxwell log epochs`.
#[derive(Debug, Args)]
pub(super) struct EpochsArguments {
    /// The folder of a gateway's log
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The log's key, if it is not log.key in the folder
    #[arg(long, value_name = "FILE")]
    log_key: Option<PathBuf>,
}

/// Arguments of `maxwell log export-epoch`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExportArguments {
    /// The folder of a gateway's log
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The epoch's name, from `maxwell log epochs`
    #[arg(long, value_name = "N")]
    epoch: u64,
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The log's key, if it is not log.key in the folder
    #[arg(long, value_name = "FILE")]
    log_key: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell log epochs ./data
  maxwell log export-epoch ./data --epoch 0 --out epoch.cbor
  maxwell log audit-sampling epoch.cbor --key gateway.key.pub

The file holds the signed checkpoint, the revealed audit key, the beacon, and of each answer its tag, digest, cost,
decision and outcome. No text can be read from it or guessed with it: each digest covers a secret nonce.";

/// Lists the epochs.
pub(super) fn list(arguments: &EpochsArguments) -> anyhow::Result<Finished> {
    let history = open(&arguments.folder, arguments.log_key.as_ref())?.history;
    let (mut rows, mut text) = (Vec::new(), String::from("epoch  answers  picked  ended  revealed  beacon"));
    for past in &history.epochs {
        let picked = past.entries.iter().filter(|entry| entry.leaf.picked).count();
        let (ended, revealed, beacon) =
            (past.checkpoint.is_some(), past.audit_key.is_some(), past.beacon.is_some());
        rows.push(json!({
            "epoch": past.epoch,
            "answers": past.entries.len(),
            "picked": picked,
            "ended": ended,
            "revealed": revealed,
            "beacon": beacon,
        }));
        let answers = past.entries.len();
        text.push_str(&format!(
            "\n{:5}  {answers:7}  {picked:6}  {ended:5}  {revealed:8}  {beacon:6}",
            past.epoch
        ));
    }
    Ok(Finished { exit: Exit::Ok, json: json!({ "epochs": rows }), text })
}

/// Writes one epoch.
pub(super) fn run(arguments: &ExportArguments) -> anyhow::Result<Finished> {
    let ExportArguments { folder, epoch, out, log_key } = arguments;
    let history = open(folder, log_key.as_ref())?.history;
    let Some(file) = history.export(*epoch) else {
        bail!("the log has no epoch {epoch} that has ended; see `maxwell log epochs {}`", folder.display());
    };
    let bytes = file.encode();
    write_new(out, &bytes)?;
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({
            "epoch": epoch,
            "file": out,
            "bytes": bytes.len(),
            "answers": file.leaves.len(),
            "revealed": file.audit_key.is_some(),
            "beacon": file.beacon.is_some(),
        }),
        text: format!("epoch {epoch}: {} answers in {}", file.leaves.len(), out.display()),
    })
}

/// Writes a file that must not be there yet.
pub(super) fn write_new(path: &PathBuf, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("can't create {}; name a file that is not there yet", path.display()))?;
    std::io::Write::write_all(&mut file, bytes).with_context(|| format!("can't write {}", path.display()))
}
