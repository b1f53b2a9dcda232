//! `maxwell agent`: a tenant of a node. Bids for processor time, runs inference on its own engine and claims it. Can be told
//! to mine beside it, or to claim what it did not compute: the cheats that a node has to catch.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use engine::{Engine, Request};
use hypervisor::wire::{
    Event, GREETING_BYTES_MAX, Hex32, LINE_BYTES_MAX, Offer, PORT, Saying, WireTier, event, greeted, line,
};
use market::auction::Sealed;
use market::ledger::AgentId;
use model::Model;
use protocol::id::ID_BYTES;
use protocol::seed::derive_seed;
use protocol::{Claim, ClientSeed, Nonce};
use serde_json::json;

use super::Shell;
use crate::frames::read_line;
use crate::models::{self, RunOptions};
use crate::output::{Exit, Finished};
use crate::random::random_bytes;

/// Arguments of `maxwell agent`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AgentArguments {
    /// The folder with the node's socket for this agent
    #[arg(long, value_name = "FOLDER", env = super::node::SOCKET_VARIABLE)]
    socket: PathBuf,
    /// The model that the node sells
    #[arg(short, long, value_name = "MODEL", env = super::node::MODEL_VARIABLE)]
    model: String,
    /// Mine beside inference, on so many threads
    #[arg(long, value_name = "THREADS", num_args = 0..=1, default_missing_value = "1", value_parser = clap::value_parser!(u16).range(1..=64))]
    mine: Option<u16>,
    /// Bid as work that can wait: its price rises with the heat of the chassis
    #[arg(long)]
    background: bool,
    /// Compute the first answer only, and claim it again and again
    #[arg(long)]
    lie: bool,
}

const EXAMPLES: &str = "\
Examples:
  maxwell node -m smollm2-135m --agent alice --agent bob=\"maxwell agent --mine\"

A node starts its agents itself and tells them socket and model by the environment.";

/// A bid that is sealed and not yet opened.
struct Pending {
    offer: Offer,
    blind: [u8; 32],
    epoch: u64,
}

struct Agent<'a> {
    arguments: &'a AgentArguments,
    engine: &'a Engine,
    stream: UnixStream,
    /// From the welcome: account, requests of a job, milliseconds of one, its reward, the stake.
    terms: Option<(AgentId, u32, u64, u64, u64)>,
    pending: Option<Pending>,
    /// Requests that are not answered yet, over all jobs.
    open: u64,
    answered: u64,
    first: Option<Claim>,
}

/// Runs the command.
pub(crate) fn run(arguments: &AgentArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    let engine = opened.engine(RunOptions { threads: Some(1), kernels: None })?;
    let path = arguments.socket.join("v.sock");
    let stream = UnixStream::connect(&path).with_context(|| format!("can't reach {}", path.display()))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut agent = Agent {
        arguments,
        engine: &engine,
        stream,
        terms: None,
        pending: None,
        open: 0,
        answered: 0,
        first: None,
    };
    agent.stream.write_all(format!("CONNECT {PORT}\n").as_bytes())?;
    let greeting = read_line(&mut reader, GREETING_BYTES_MAX)?;
    if greeting != greeted(PORT).as_bytes() {
        bail!("the node does not take the connection");
    }
    agent.say(&Saying::Hello)?;
    loop {
        let bytes = read_line(&mut reader, LINE_BYTES_MAX)?;
        if bytes.is_empty() || !agent.heard(event(&bytes)?)? {
            break;
        }
    }
    let json = json!({ "answered": agent.answered });
    Ok(Finished { exit: Exit::Ok, json, text: format!("{} requests answered", agent.answered) })
}

impl Agent<'_> {
    fn say(&mut self, saying: &Saying) -> anyhow::Result<()> {
        Ok(self.stream.write_all(&line(saying))?)
    }

    /// Whether it goes on.
    fn heard(&mut self, event: Event) -> anyhow::Result<bool> {
        match event {
            Event::Welcome { account, requests, request_cpu_ms, request_reward, stake, .. } => {
                self.terms = Some((AgentId(account.0), requests, request_cpu_ms, request_reward, stake));
                for _ in 0..self.arguments.mine.unwrap_or(0) {
                    std::thread::spawn(mine);
                }
            }
            Event::Sealing { epoch, .. } => self.bid(epoch)?,
            Event::Opening { epoch } => {
                if let Some(Pending { offer, blind, .. }) =
                    self.pending.take().filter(|bid| bid.epoch == epoch)
                {
                    self.say(&Saying::Open { offer, blind: Hex32(blind) })?;
                }
            }
            Event::Won { requests, .. } => self.open += u64::from(requests),
            Event::Request { job, prompt_ids, sampling, nonce, .. } => {
                let request = Request {
                    prompt_ids,
                    settings: sampling.settings(),
                    nonce: Nonce::from_bytes(nonce.0),
                    client_seed: ClientSeed::from_bytes([0; ID_BYTES]),
                };
                let claim = hex::encode(self.answer(request)?.encode());
                (self.open, self.answered) = (self.open.saturating_sub(1), self.answered + 1);
                self.say(&Saying::Answer { job, claim })?;
            }
            Event::Refused { why } => tracing::warn!(why, "the node refuses"),
            Event::Stopped { .. } => return Ok(false),
            Event::Lost { .. } | Event::Charged { .. } | Event::Checked { .. } | Event::Limited { .. } => {}
        }
        Ok(true)
    }

    /// Bids for the next epoch, unless it is more than a job behind.
    fn bid(&mut self, epoch: u64) -> anyhow::Result<()> {
        let Some((account, requests, request_cpu_ms, request_reward, stake)) = self.terms else {
            return Ok(());
        };
        if self.open > u64::from(requests) || self.pending.as_ref().is_some_and(|bid| bid.epoch == epoch) {
            return Ok(());
        }
        let offer = Offer {
            background: self.arguments.background,
            bundle: [u64::from(requests).saturating_mul(request_cpu_ms), 0, 0],
            value: request_reward.saturating_mul(u64::from(requests)) / 2,
            tier: WireTier::Audited,
            stake,
            feeds: None,
        };
        let blind = random_bytes()?;
        let sealed = Sealed::new(&offer.bid(account), epoch, &blind);
        self.pending = Some(Pending { offer, blind, epoch });
        self.say(&Saying::Seal { id: sealed.id.into(), epoch })
    }

    fn answer(&mut self, request: Request) -> anyhow::Result<Claim> {
        let model: &Model = self.engine.model();
        if let Some(first) = self.first.as_ref().filter(|_| self.arguments.lie) {
            let seed = derive_seed(&request.nonce, &request.client_seed);
            let (prompt_ids, nonce) = (request.prompt_ids, request.nonce);
            return Ok(Claim { prompt_ids, nonce, seed, ..first.clone() });
        }
        let completed = engine::batch::complete(self.engine, request.clone(), |_| {})?;
        let claim = completed.into_claim(model, request, model.template.is_some());
        self.first.get_or_insert_with(|| claim.clone());
        Ok(claim)
    }
}

/// Hashes for ever.
fn mine() {
    let mut hash = [0; 32];
    loop {
        hash = *blake3::hash(&hash).as_bytes();
        std::hint::black_box(&hash);
    }
}
