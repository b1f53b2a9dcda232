//! `maxwell whitelist`: makes, signs and shows the list of models that two parties allow. Never signs what it can't
//! read, and never keeps a signature on a list that was changed.

mod edit;
mod show;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use protocol::whitelist::{MAX_SIGNED_WHITELIST_BYTES, SignedWhitelist};
use protocol::{ModelCommitment, Whitelist};

pub(super) use self::edit::{Described, bundle_path, describe, entry_name, outboard_path};
use super::Shell;
use crate::home::{read_bounded, write_atomic};
use crate::output::Finished;

/// Arguments of `maxwell whitelist`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WhitelistArguments {
    #[command(subcommand)]
    command: WhitelistCommand,
}

#[derive(Debug, Subcommand)]
enum WhitelistCommand {
    /// Put a model on the list, or replace the one of that name
    Add(AddArguments),
    /// Take a model back: it must not run although the list has it
    Revoke(RevokeArguments),
    /// Sign the list as one of the two parties
    Sign(SignArguments),
    /// Show the list; with both parties' keys, check that both signed it
    Show(ShowArguments),
}

/// Which file.
#[derive(Debug, Args)]
struct ListFile {
    /// The whitelist
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = ADD_EXAMPLES)]
struct AddArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    list: ListFile,
    /// Name that clients use; the pulled name, or made from the file's name, if not given
    #[arg(long)]
    name: Option<String>,
    /// The Unix second from which on the whole list no longer holds
    #[arg(long, value_name = "SECOND")]
    expires: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = REVOKE_EXAMPLES)]
struct RevokeArguments {
    /// The model's commitment: 64 hexadecimal digits
    #[arg(value_name = "COMMITMENT", value_parser = ModelCommitment::from_str)]
    model: ModelCommitment,
    #[command(flatten)]
    list: ListFile,
}

#[derive(Debug, Args)]
#[command(after_help = SIGN_EXAMPLES)]
struct SignArguments {
    #[command(flatten)]
    list: ListFile,
    /// The secret key's file, as `maxwell keygen` writes it
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct ShowArguments {
    #[command(flatten)]
    list: ListFile,
    /// A party's public key, mxpk1..., or a file that holds it; give both parties
    #[arg(long = "party", value_name = "PUB")]
    parties: Vec<String>,
    /// Deny a list that is older than this version
    #[arg(long, value_name = "VERSION", default_value_t = 0, requires = "parties")]
    lowest_version: u64,
}

const EXAMPLES: &str = "\
Examples:
  maxwell whitelist add smollm2-135m --file whitelist.cbor
  maxwell whitelist sign --file whitelist.cbor --key alice.key
  maxwell whitelist sign --file whitelist.cbor --key bob.key
  maxwell whitelist show --file whitelist.cbor --party alice.key.pub --party bob.key.pub

A gateway takes a list that both parties signed. Every change drops the signatures and raises the version.";

const ADD_EXAMPLES: &str = "\
Examples:
  maxwell whitelist add smollm2-135m --file whitelist.cbor
  maxwell whitelist add ./Qwen3-0.6B-Q4_0.gguf --name qwen3 --file whitelist.cbor --expires 1800000000

Writes the list and, next to it, DIGEST.tokenizer and ROOT.outboard, which a gateway needs to speak for the model
and to check its weights as they are loaded.";

const REVOKE_EXAMPLES: &str = "\
Examples:
  maxwell whitelist revoke $(maxwell inspect smollm2-135m --json | jq -r .commitment) --file whitelist.cbor

The list must be signed again by both parties, and every gateway must get the new one.";

const SIGN_EXAMPLES: &str = "\
Examples:
  maxwell whitelist sign --file whitelist.cbor --key alice.key

Look at the list with `maxwell whitelist show` first: a signature allows every model on it.";

const SHOW_EXAMPLES: &str = "\
Examples:
  maxwell whitelist show --file whitelist.cbor
  maxwell whitelist show --file whitelist.cbor --party alice.key.pub --party bob.key.pub

Exit codes with both parties: 0 both signed it and it holds now, 3 it is denied.";

/// Runs the command.
pub(crate) fn run(arguments: &WhitelistArguments, shell: &Shell) -> anyhow::Result<Finished> {
    match &arguments.command {
        WhitelistCommand::Add(arguments) => edit::add(arguments, shell),
        WhitelistCommand::Revoke(arguments) => edit::revoke(arguments),
        WhitelistCommand::Sign(arguments) => edit::sign(arguments, shell),
        WhitelistCommand::Show(arguments) => show::show(arguments),
    }
}

/// What the file holds, checked for its form only.
fn read(path: &Path) -> anyhow::Result<(SignedWhitelist, Whitelist)> {
    let signed = SignedWhitelist::decode(&read_bounded(path, MAX_SIGNED_WHITELIST_BYTES)?)?;
    let list = signed.unverified()?;
    Ok((signed, list))
}

fn write(path: &Path, signed: &SignedWhitelist) -> anyhow::Result<()> {
    write_atomic(path, &signed.encode())
}
