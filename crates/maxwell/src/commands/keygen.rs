//! `maxwell keygen`: makes a signing key. Never overwrites a file, and never prints the secret.

use std::path::PathBuf;

use clap::Args;
use protocol::SigningKey;
use serde_json::json;

use crate::keys;
use crate::output::{Exit, Finished};
use crate::random::random_bytes;

/// Arguments of `maxwell keygen`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KeygenArguments {
    /// File for the secret key, readable by its owner only; the public key goes to OUT.pub
    #[arg(value_name = "OUT")]
    out: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  maxwell keygen gateway.key
  maxwell keygen alice.key --json | jq -r .public

Whoever has OUT can sign for you: keep it on one machine and off backups that others read. OUT.pub is for
everybody. Neither file is ever overwritten.";

/// Runs the command.
pub(crate) fn run(arguments: &KeygenArguments) -> anyhow::Result<Finished> {
    let key = SigningKey::from_seed(random_bytes()?);
    keys::store_new(&arguments.out, &key)?;
    let public = key.verifying_key();
    let public_file = keys::public_path(&arguments.out);
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({
            "public": public.to_string(),
            "key_id": public.id().to_string(),
            "secret_file": arguments.out,
            "public_file": public_file,
        }),
        text: format!(
            "{public}\n  key id {}\n  secret in {}, public key in {}",
            public.id(),
            arguments.out.display(),
            public_file.display()
        ),
    })
}
