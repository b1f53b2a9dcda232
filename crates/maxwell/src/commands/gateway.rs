//! `maxwell gateway`: the gateway alone, as a service with a configuration file, and its API keys. Must never start with
//! less than both parties signed, and never listen to strangers without keys.

mod config;
mod keys;
mod ready;
mod reload;
mod service;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

pub(super) use self::keys::read as read_api_keys;

use self::keys::KeysArguments;
use self::ready::Ready;
use super::Shell;
use crate::output::{Finished, Misuse};

/// Arguments of `maxwell gateway`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct GatewayArguments {
    /// The configuration, a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the configuration and all files it names, say what is wrong, and start nothing
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<GatewayCommand>,
}

#[derive(Debug, Subcommand)]
enum GatewayCommand {
    /// Make, list and take back API keys
    Keys(KeysArguments),
}

const EXAMPLES: &str = "\
Examples:
  maxwell gateway --config gateway.toml --check
  maxwell gateway --config gateway.toml --log-format json
  maxwell gateway keys add alice --file keys.json --requests-per-minute 60 --tokens-per-minute 20000

A whole configuration. Lines that begin with # may be left out and stand here with their defaults, or with an example
where there is none. Paths are relative to the file's folder.

  address = \"127.0.0.1:8080\"     # other machines may ask only where api_keys are given
  model = \"smollm2-135m\"         # its name in the whitelist
  weights = \"model.gguf\"
  receipt_key = \"gateway.key\"    # from `maxwell keygen`
  # api_keys = \"keys.json\"       # from `maxwell gateway keys`; without it everybody on this machine may ask
  [whitelist]                    # from `maxwell whitelist`, with the files that it wrote beside it
  file = \"whitelist.cbor\"
  parties = [\"alice.key.pub\", \"bob.key.pub\"]    # two public keys, or their files
  # lowest_version = 0           # an older list is denied
  # tokenizer = \"DIGEST.tokenizer\"    # beside the list if not given, as the next one
  # outboard = \"ROOT.outboard\"
  [log]
  folder = \"data\"                # made at the first start, with a new log.key in it
  # key = \"data/log.key\"
  [sockets]                      # Unix sockets
  # link = \"data/link\"           # where the server connects
  # recomputers = \"data/lease\"
  [audit]                        # parts per million of the answers that are recomputed
  rate_ppm = 100000              # of answers of 256 tokens; longer ones more often
  # floor_ppm = 100000           # of any answer at least; the rate if not given
  # model_floors_ppm = { smollm2-135m = 100000 }    # of single models, where it is higher
  # lease_ms = 60000             # a recomputer that takes longer has lost its job
  # epoch_answers = 4096         # then their tree is signed, and the key that picked is revealed
  # beacon_party = \"inspector.key.pub\"    # who may pick more of an epoch after it, see `maxwell log beacon`
  [recomputers]
  # names = [\"first\"]            # up to three; the second listens at data/lease-2; the third breaks ties
  # second_ppm = 100000          # picks that the second gets in any case, and not only if the first does not pass them
  # canary_ppm = 50000           # wrong answers among the jobs, which only a whole replay finds
  # slot_ms = 500                # one job per slot, if need be a dummy, so that nobody sees picks; 0: as they come
  # unverifiable_ppm = 1000      # more answers without a verdict over a day are an alarm
  [egress]                       # answers leave the slower, the more bytes of text wait for a check
  # unverified_bytes_max = 67108864
  # cap_bytes_per_s = 4194304
  # tau_ms = 60000               # what is left of the bytes is spread over so long
  [server]
  # command = [\"maxwell\", \"serve\", \"--link\", \"{link}\"]    # without it the gateway waits until one connects
  # load_ms = 300000             # from the last weights to ready
  # readback_ms = 10000          # for an answer to a challenge
  # silence_ms = 120000          # from one token of an answer to the next
  [limits]                       # of keys without their own; none if not given
  # requests_per_minute = 60
  # tokens_per_minute = 20000    # of prompts and answers
  [timeouts]
  # head_ms = 30000              # for a request's head, and for a connection that asks nothing
  # body_idle_ms = 10000         # from one piece of a body to the next
  # body_total_ms = 120000
  # drain_ms = 60000             # for the answers that run when the gateway is stopped
  [capacity]
  # connections_max = 1024
  # in_flight_max = 32           # answers at the same time
  # backlog_max = 1024           # sampled answers that wait for recomputation

SIGHUP, or a change of the file or of the API keys, reads both again: api_keys, limits and timeouts change at once, for
the rest the gateway has to be started again. If anything is wrong, all stays as it is (see maxwell_reloads_total).
SIGTERM or Ctrl-C finishes the answers that run, for at most drain_ms; a second one does not wait.

Exit codes: 0 ended as it was told, 3 a recomputation failed and the server was killed, 1 another error.";

/// Runs the command.
pub(crate) fn run(arguments: &GatewayArguments, shell: &Shell) -> anyhow::Result<Finished> {
    if let Some(GatewayCommand::Keys(arguments)) = &arguments.command {
        return keys::run(arguments);
    }
    let Some(path) = &arguments.config else {
        return Err(
            Misuse("give --config FILE; `maxwell gateway --help` shows a whole one".to_owned()).into()
        );
    };
    let ready = Ready::read(path, shell)?;
    if arguments.check {
        return Ok(ready.checked());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("can't start threads")?;
    runtime.block_on(service::serve(ready, shell))
}
