//! `maxwell log`: reads the log of a gateway that is not running, and what it gives to outsiders. Never changes it.

mod audit;
mod beacon;
mod export;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gateway::history::History;
use gateway::log::read_history;
use gateway::store::{Sequence, Store, StoreKey};

use self::audit::AuditArguments;
use self::beacon::BeaconArguments;
use self::export::{EpochsArguments, ExportArguments};
use super::Shell;
use crate::output::Finished;
use crate::stack::{LOG_FOLDER, LOG_KEY_FILE, STORE, read_log_key};

/// Arguments of `maxwell log`.
#[derive(Debug, Args)]
pub(crate) struct LogArguments {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Draw every coin again: was exactly what had to be recomputed picked?
    AuditSampling(AuditArguments),
    /// List the epochs of a log
    Epochs(EpochsArguments),
    /// Write one epoch for somebody who has no key of the log
    ExportEpoch(ExportArguments),
    /// As the other party: draw and sign the beacon of an epoch that has ended
    Beacon(BeaconArguments),
}

/// A log that was read.
struct Opened {
    history: History,
    /// Whether it still has its first record.
    is_whole: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &LogArguments, shell: &Shell) -> anyhow::Result<Finished> {
    match &arguments.command {
        LogCommand::AuditSampling(arguments) => audit::run(arguments),
        LogCommand::Epochs(arguments) => export::list(arguments),
        LogCommand::ExportEpoch(arguments) => export::run(arguments),
        LogCommand::Beacon(arguments) => beacon::run(arguments, shell),
    }
}

/// Reads all of a log in the folder of a gateway.
fn open(folder: &Path, key: Option<&PathBuf>) -> anyhow::Result<Opened> {
    let key = read_log_key(&key.cloned().unwrap_or_else(|| folder.join(LOG_KEY_FILE)))?;
    let (store, _) = Store::open(&folder.join(LOG_FOLDER), &StoreKey::from_bytes(key), STORE)?;
    Ok(Opened { history: read_history(&store)?, is_whole: store.oldest() == Sequence::FIRST })
}
