//! `maxwell recompute`: leases sampled answers from a gateway, replays them on its own copy of the weights, and says
//! what came out. Never judges by anything but the replay.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use engine::Engine;
use protocol::Claim;
use protocol::lease::{FromGateway, MAX_LEASE_BYTES, Outcome, ToGateway};
use protocol::link::frame;
use serde_json::json;

use super::Shell;
use crate::frames::read_frame;
use crate::models::{self, RunOptions};
use crate::output::{Exit, Finished};

/// Answers that are replayed together, at most.
const BATCH_MAX: usize = 8;
/// No further answer joins a batch that has so many tokens: memory, and the wait of the first one.
const BATCH_TOKENS: usize = 4096;
/// How long to wait if there is nothing to do.
const IDLE: Duration = Duration::from_millis(50);

/// Arguments of `maxwell recompute`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RecomputeArguments {
    /// The gateway's Unix socket for recomputers
    #[arg(long, value_name = "SOCKET")]
    gateway: PathBuf,
    /// The model that is replayed: a pulled model's name, or the path of a GGUF file
    #[arg(short, long, value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    run: RunOptions,
}

const EXAMPLES: &str = "\
Examples:
  maxwell recompute --gateway lease.sock -m smollm2-135m

Runs until the gateway ends the connection, then says how many answers passed, failed, or could not be replayed.";

/// Runs the command.
pub(crate) fn run(arguments: &RecomputeArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    let engine = opened.engine(arguments.run)?;
    let mut gateway = UnixStream::connect(&arguments.gateway)
        .with_context(|| format!("can't reach a gateway at {}", arguments.gateway.display()))?;
    let mut counts = [0_u64; 3];
    while let Some(jobs) = lease(&mut gateway)? {
        if jobs.is_empty() {
            thread::sleep(IDLE);
            continue;
        }
        let mut is_gone = false;
        for (tag, outcome) in replay(&engine, &jobs)? {
            tracing::info!(tag, ?outcome, batch = jobs.len(), "replayed");
            counts[match outcome {
                Outcome::Pass => 0,
                Outcome::Fail { .. } => 1,
                Outcome::Unverifiable { .. } => 2,
            }] += 1;
            is_gone |= ask(&mut gateway, &ToGateway::Done { tag, outcome })?.is_none();
        }
        if is_gone {
            break;
        }
    }
    let [pass, fail, unverifiable] = counts;
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({ "pass": pass, "fail": fail, "unverifiable": unverifiable }),
        text: format!("{pass} passed, {fail} failed, {unverifiable} could not be replayed"),
    })
}

/// Jobs that are there now, at most a batch of them; `None` if the gateway is gone.
fn lease(gateway: &mut UnixStream) -> anyhow::Result<Option<Vec<(u64, Claim)>>> {
    let (mut jobs, mut tokens) = (Vec::new(), 0_usize);
    while jobs.len() < BATCH_MAX && tokens < BATCH_TOKENS {
        match ask(gateway, &ToGateway::Lease)? {
            Some(FromGateway::Job { tag, claim }) => {
                // The gateway made these bytes; if they are no claim, nobody is to blame but the two of us.
                let claim = Claim::decode(&claim).context("the gateway sent bytes that are no claim")?;
                tokens += claim.prompt_ids.len() + claim.output_ids.len();
                jobs.push((tag, claim));
            }
            Some(FromGateway::Idle) => break,
            Some(FromGateway::Recorded { .. }) => bail!("the gateway answered something else than was asked"),
            None => return Ok(None),
        }
    }
    Ok(Some(jobs))
}

/// Replays answers that a gateway wrote down, all in one pass over the weights.
fn replay(engine: &Engine, jobs: &[(u64, Claim)]) -> anyhow::Result<Vec<(u64, Outcome)>> {
    let claims: Vec<&Claim> = jobs.iter().map(|(_, claim)| claim).collect();
    let verdicts = evidence::replay::replay_batch(engine, &claims);
    let outcomes = jobs.iter().zip(verdicts).map(|((tag, _), verdict)| Ok((*tag, Outcome::of(&verdict?))));
    outcomes.collect()
}

/// One question and its answer; `None` if the gateway is gone.
fn ask(gateway: &mut UnixStream, question: &ToGateway) -> anyhow::Result<Option<FromGateway>> {
    if gateway.write_all(&frame(&question.encode())).is_err() {
        return Ok(None);
    }
    let Some(bytes) = read_frame(gateway, MAX_LEASE_BYTES)? else { return Ok(None) };
    Ok(Some(FromGateway::decode(&bytes)?))
}
