//! `maxwell gateway keys`: the file of API keys. Prints a key once and keeps its digest only; must never lose a record
//! to another change at the same time.

use std::fs::File;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use gateway::api_keys::{API_KEY_PREFIX, ApiKey, ApiKeys, KeyDigest, MAX_API_KEYS_BYTES};
use gateway::limits::Rates;
use serde_json::{Value, json};

use crate::home::{read_bounded, write_atomic};
use crate::output::{Exit, Finished};
use crate::random::random_bytes;

/// Arguments of `maxwell gateway keys`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct KeysArguments {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key, and print it for the only time
    Add(AddArguments),
    /// Show all keys' names and limits
    List(KeysFile),
    /// Take a key back
    Revoke(RevokeArguments),
}

/// Which file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct KeysFile {
    /// The file of keys: names, limits and digests
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct AddArguments {
    /// Whose key: 1 to 64 of a-z, A-Z, 0-9, '.', '-' and '_'
    #[arg(value_name = "NAME")]
    name: String,
    /// Requests in a minute; the gateway's limits hold if not given
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<NonZeroU32>,
    /// Tokens of prompts and answers in a minute; the gateway's limits hold if not given
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<NonZeroU32>,
    #[command(flatten)]
    file: KeysFile,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct RevokeArguments {
    /// Whose key
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    file: KeysFile,
}

const EXAMPLES: &str = "\
Examples:
  maxwell gateway keys add alice --file keys.json
  maxwell gateway keys add bob --file keys.json --requests-per-minute 60 --tokens-per-minute 20000
  maxwell gateway keys list --file keys.json
  maxwell gateway keys revoke bob --file keys.json

The key is printed once and is nowhere else. A running gateway sees each change within a moment.";

/// Runs the command.
pub(super) fn run(arguments: &KeysArguments) -> anyhow::Result<Finished> {
    match &arguments.command {
        KeysCommand::Add(arguments) => add(arguments),
        KeysCommand::List(arguments) => list(&arguments.file),
        KeysCommand::Revoke(arguments) => revoke(&arguments.name, &arguments.file.file),
    }
}

fn add(arguments: &AddArguments) -> anyhow::Result<Finished> {
    let path = &arguments.file.file;
    let AddArguments { name, requests_per_minute, tokens_per_minute, .. } = arguments;
    let key = format!("{API_KEY_PREFIX}{}", hex::encode(random_bytes()?));
    let rates = Rates { requests_per_minute: *requests_per_minute, tokens_per_minute: *tokens_per_minute };
    let record = ApiKey { name: name.clone(), digest: KeyDigest::of(&key), rates, revoked: false };
    let shown = shown(&record);
    let _lock = lock(path)?;
    let mut keys = if path.try_exists().with_context(|| format!("can't look for {}", path.display()))? {
        read(path)?
    } else {
        ApiKeys::default()
    };
    keys.add(record)?;
    write_atomic(path, &keys.encode())?;
    let mut json = shown;
    json["key"] = key.clone().into();
    json["file"] = json!(path);
    Ok(Finished { exit: Exit::Ok, json, text: key })
}

fn revoke(name: &str, path: &Path) -> anyhow::Result<Finished> {
    let _lock = lock(path)?;
    let mut keys = read(path)?;
    let changed = keys.revoke(name)?;
    if changed {
        write_atomic(path, &keys.encode())?;
    }
    let text = format!("{name} {}", if changed { "is revoked" } else { "was revoked before" });
    let json = json!({ "name": name, "revoked": true, "changed": changed, "file": path });
    Ok(Finished { exit: Exit::Ok, json, text })
}

fn list(path: &Path) -> anyhow::Result<Finished> {
    let keys = read(path)?;
    let limit = |limit: Option<NonZeroU32>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    let mut text = format!("{:<24} {:>12} {:>12}", "name", "requests/min", "tokens/min");
    for key in keys.all() {
        let Rates { requests_per_minute, tokens_per_minute } = key.rates;
        let (requests, tokens) = (limit(requests_per_minute), limit(tokens_per_minute));
        let revoked = if key.revoked { "  revoked" } else { "" };
        text.push_str(&format!("\n{:<24} {requests:>12} {tokens:>12}{revoked}", key.name));
    }
    let shown: Vec<Value> = keys.all().iter().map(shown).collect();
    Ok(Finished { exit: Exit::Ok, json: json!({ "file": path, "keys": shown }), text })
}

/// Everything that is known of a key but its digest.
fn shown(key: &ApiKey) -> Value {
    json!({
        "name": key.name,
        "requests_per_minute": key.rates.requests_per_minute,
        "tokens_per_minute": key.rates.tokens_per_minute,
        "revoked": key.revoked,
    })
}

/// Reads a file of keys.
pub(in crate::commands) fn read(path: &Path) -> anyhow::Result<ApiKeys> {
    let bytes = read_bounded(path, MAX_API_KEYS_BYTES)?;
    ApiKeys::decode(&bytes).with_context(|| path.display().to_string())
}

/// Waits until nobody else changes the file. The lock is a file of its own, since each change replaces the other.
fn lock(path: &Path) -> anyhow::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock =
        File::create(&name).with_context(|| format!("can't create {}", PathBuf::from(&name).display()))?;
    lock.lock().with_context(|| format!("can't lock {}", path.display()))?;
    Ok(lock)
}
