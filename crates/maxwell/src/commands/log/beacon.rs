//! `maxwell log beacon`: the other party's draw after an epoch. Must never sign for a checkpoint that is not final, or
//! let the value be chosen.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use protocol::checkpoint::Beacon;
use serde_json::json;

use super::audit::read_checkpoint;
use super::export::write_new;
use crate::commands::Shell;
use crate::keys::{read_signing_key, read_verifying_key};
use crate::output::{Exit, Finished};

/// Arguments of `maxwell log beacon`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BeaconArguments {
    /// The epoch's final checkpoint, as the gateway gives it
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
    /// The gateway's public key, mxpk1..., or a file that holds it
    #[arg(long, value_name = "PUB")]
    gateway: String,
    /// Your secret key; its public half is `audit.beacon_party` in the gateway's configuration
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  curl http://GATEWAY/v1/epochs                                   # which have ended, and have no beacon
  curl http://GATEWAY/v1/epochs/0/checkpoint -o checkpoint.cbor
  maxwell log beacon checkpoint.cbor --gateway gateway.key.pub --key inspector.key --out beacon.cbor
  curl http://GATEWAY/v1/epochs/0/beacon --data-binary @beacon.cbor

The beacon picks more of the epoch's answers to be recomputed. Nobody could foresee them while the answers were given, not
even who holds the gateway's own audit key. An epoch takes one beacon.

Exit codes: 0 written, 1 the checkpoint is not final, or not this gateway's.";

/// Runs the command.
pub(super) fn run(arguments: &BeaconArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let gateway = read_verifying_key(&arguments.gateway)?;
    let key = read_signing_key(&arguments.key, shell.terminal)?;
    let checkpoint = read_checkpoint(&arguments.checkpoint, &gateway)?;
    if !checkpoint.is_final {
        bail!("the checkpoint is not the epoch's final one: a beacon for it could be used to choose answers");
    }
    if checkpoint.terms.beacon_party != Some(key.verifying_key()) {
        bail!("the epoch began with another party, or none, to draw its beacon");
    }
    // Drawn only now, so that it can't have been known before.
    let value = gateway::entropy::Entropy::system()?.draw()?;
    let beacon = Beacon::new(&checkpoint, value);
    write_new(&arguments.out, &beacon.sign(&key))?;
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({
            "epoch": beacon.epoch,
            "checkpoint": beacon.checkpoint.to_string(),
            "answers": checkpoint.size,
            "file": arguments.out,
        }),
        text: format!(
            "beacon of epoch {} with {} answers, for checkpoint {}, in {}",
            beacon.epoch,
            checkpoint.size,
            beacon.checkpoint,
            arguments.out.display()
        ),
    })
}
