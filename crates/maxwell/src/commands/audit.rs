//! `maxwell audit`: judges a claim by the cheapest check that reaches the wanted confidence, and prints the ladder. Must
//! never call a designated result public, nor let one stand alone against anybody: a rejection is repeated in public.

mod report;
mod vectors;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use anyhow::Context;
use clap::{Args, Subcommand};
use engine::Engine;
use engine::trace::Tracer;
use evidence::audit::{
    Audience, AuditCoins, AuditModel, audit_designated, audit_parts, audit_public, designated_bits_adaptive,
    draw_parts, error_bits, transcript,
};
use evidence::field::{Goldilocks2, Mersenne61};
use evidence::ladder::{Check, Plan, Rung, Situation, plan};
use evidence::replay::replay;
use evidence::trace::commit;
use model::Model;
use protocol::claim::MAX_CLAIM_BYTES;
use protocol::trace::{TraceFault, TraceOperation, TracePlace};
use protocol::{Claim, Missing, Nonce, Reason, Verdict};

use super::Shell;
use super::check::{judge_without_model, open_claimed};
use crate::decimal;
use crate::home::read_bounded;
use crate::models::{self, RunOptions};
use crate::output::Finished;
use crate::random::random_bytes;

/// Tokens of a trace that are in memory at once; whole leaves.
const CHUNK: usize = 32;
/// Tokens of the short pass that tells what a replay would take.
const PROBE_TOKENS: usize = 32;
/// Hashes that whoever grinds public coins is granted.
const PUBLIC_ATTEMPTS: u64 = 1 << 24;

/// Arguments of `maxwell audit`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct AuditArguments {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    /// The claim
    #[arg(value_name = "FILE", required = true)]
    claim: Option<PathBuf>,
    /// How surely a false claim must be found; 1 means a replay
    #[arg(long, value_name = "P", default_value = "0.999999", value_parser = confidence)]
    confidence: u32,
    /// Seconds that the auditor may spend
    #[arg(long, value_name = "SECONDS", value_parser = decimal::milli)]
    budget: Option<u32>,
    /// Only checks whose result others may believe
    #[arg(long)]
    public: bool,
    /// The nonce that you gave out for this request: 64 hexadecimal digits. Without it freshness is not checked
    #[arg(long, value_name = "HEX", value_parser = Nonce::from_str)]
    nonce: Option<Nonce>,
    /// The model that was ordered, as for `check`
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    #[command(flatten)]
    run: RunOptions,
}

/// Beside auditing itself.
#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Draw new secret vectors for a model and multiply them with its weights, once
    Prepare(vectors::PrepareArguments),
}

const EXAMPLES: &str = "\
Examples:
  maxwell audit sky.claim
  maxwell audit sky.claim --confidence 0.9 --budget 0.05
  maxwell audit sky.claim --public --json
  maxwell audit prepare smollm2-135m

The prover's numbers are computed here on demand: the engine is exact, so they are those of the run in question. The
auditor then checks them without multiplying a matrix with a token. Parts can be audited, and results made public, if
the claim is committed to its trace (`generate --trace`).

Exit codes: 0 accepted, 3 rejected, 4 undecided (the model is not here, or the budget is too small), 1 something failed.";

/// At most 1.
fn confidence(text: &str) -> Result<u32, String> {
    let ppb = decimal::ppb(text)?;
    if u64::from(ppb) > evidence::ladder::CERTAIN_PPB {
        return Err("a confidence is at most 1".to_owned());
    }
    Ok(ppb)
}

/// Runs the command.
pub(crate) fn run(arguments: &AuditArguments, shell: &Shell) -> anyhow::Result<Finished> {
    if let Some(AuditCommand::Prepare(arguments)) = &arguments.command {
        return vectors::run(arguments, shell);
    }
    let path = arguments.claim.as_ref().context("a claim is required")?;
    let claim = Claim::decode(&read_bounded(path, MAX_CLAIM_BYTES)?)?;
    let opened = match &arguments.model {
        Some(reference) => Some(models::open(&shell.home, shell.terminal, reference)?),
        None => open_claimed(shell, &claim),
    };
    let issued = arguments.nonce.as_ref();
    let opened = match opened {
        Some(opened) if opened.model.commitment == claim.model => opened,
        other => {
            let ordered = other.filter(|_| arguments.model.is_some());
            let verdict = judge_without_model(&claim, issued, ordered.as_ref());
            return Ok(report::finished(&claim, &Outcome::early(verdict)));
        }
    };
    if let Some(issued) = issued.filter(|issued| **issued != claim.nonce) {
        let verdict = Verdict::Reject(Reason::Nonce { claimed: claim.nonce, issued: *issued });
        return Ok(report::finished(&claim, &Outcome::early(verdict)));
    }
    let engine = opened.engine(arguments.run)?;
    let outcome = audit(arguments, shell, &engine, &claim)?;
    Ok(report::finished(&claim, &outcome))
}

/// What came out, and what it took.
struct Outcome {
    verdict: Verdict,
    plan: Option<Plan>,
    /// In the order in which they ran.
    ran: Vec<Ran>,
}

/// A check that was run.
struct Ran {
    check: Check,
    verdict: Verdict,
    audience: Option<Audience>,
    /// Of the auditor.
    seconds: f64,
    /// Bytes that the prover showed in openings.
    opening_bytes: Option<usize>,
}

impl Outcome {
    fn early(verdict: Verdict) -> Self {
        Self { verdict, plan: None, ran: Vec::new() }
    }
}

fn audit(
    arguments: &AuditArguments,
    shell: &Shell,
    engine: &Engine,
    claim: &Claim,
) -> anyhow::Result<Outcome> {
    // Vectors first: they are made once, and are no cost of this audit.
    let auditing = Auditing { shell, engine, claim, subject: AuditModel::new(engine.model().clone()) };
    let situation = situation(engine, claim, arguments.public);
    let budget_us = arguments.budget.map(|milli| u64::from(milli) * 1000);
    let plan = plan(&situation, u64::from(arguments.confidence), budget_us);
    let mut ran = Vec::new();
    let Some(rung) = plan.chosen.and_then(|index| plan.rungs.get(index)).copied() else {
        return Ok(Outcome { verdict: Verdict::Undecided(Missing::Confidence), plan: Some(plan), ran });
    };
    let first = auditing.run(rung)?;
    let mut verdict = first.verdict.clone();
    let is_designated = first.audience == Some(Audience::Designated);
    ran.push(first);
    if is_designated && matches!(verdict, Verdict::Reject(_)) {
        // Nobody else can check a designated rejection, so it must not stand alone.
        let again = if claim.trace.is_some() { Check::Public } else { Check::Replay };
        let confirmed = auditing.run(Rung { check: again, ..rung })?;
        verdict = confirmed.verdict.clone();
        ran.push(confirmed);
    }
    if verdict == Verdict::Accept && !plan.is_enough {
        verdict = Verdict::Undecided(Missing::Confidence);
    }
    Ok(Outcome { verdict, plan: Some(plan), ran })
}

fn situation(engine: &Engine, claim: &Claim, is_public: bool) -> Situation {
    let (ids, _) = transcript(engine.model(), claim);
    let probe: Vec<u32> = (0..PROBE_TOKENS as u32).map(|i| i % engine.model().config.vocab).collect();
    let probe = &probe[..probe.len().min(engine.model().config.context as usize)];
    let began = Instant::now();
    Tracer::new(engine, probe, 0, PROBE_TOKENS, &[]).for_each(drop);
    let token_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX) / probe.len().max(1) as u64;
    Situation {
        blocks: engine.model().config.blocks,
        is_committed: claim.trace.is_some(),
        is_public,
        replay_us: token_us.saturating_mul(ids.len() as u64),
        token_us,
        error_bits: (error_bits::<Mersenne61>(1), error_bits::<Goldilocks2>(PUBLIC_ATTEMPTS)),
    }
}

/// One claim, and both sides of its audit.
struct Auditing<'a> {
    shell: &'a Shell,
    engine: &'a Engine,
    claim: &'a Claim,
    subject: AuditModel,
}

impl Auditing<'_> {
    fn run(&self, rung: Rung) -> anyhow::Result<Ran> {
        let began = Instant::now();
        let seconds = || began.elapsed().as_secs_f64();
        let ran = |verdict, audience| Ran {
            check: rung.check,
            verdict,
            audience,
            seconds: seconds(),
            opening_bytes: None,
        };
        Ok(match rung.check {
            Check::Statement => {
                let reason = self.claim.contradiction();
                ran(reason.map_or(Verdict::Accept, Verdict::Reject), Some(Audience::Public))
            }
            Check::Parts(count) => self.parts(count)?,
            Check::Designated => {
                let prepared = vectors::load(self.shell, self.model())?;
                let coins = AuditCoins { attention: random_bytes()? };
                let mut prover = Timed::new(self.trace());
                let began = Instant::now();
                let audited = audit_designated(&self.subject, &prepared, self.claim, coins, prover.by_ref())?;
                let seconds = began.elapsed().as_secs_f64() - prover.seconds;
                Ran { seconds, ..ran(audited.verdict, Some(audited.audience)) }
            }
            Check::Public => {
                let mut prover = Timed::new(self.trace());
                let audited = audit_public(&self.subject, self.claim, prover.by_ref())?
                    .context("the ladder has this rung for claims with a root only")?;
                let seconds = seconds() - prover.seconds;
                Ran { seconds, ..ran(audited.verdict, Some(audited.audience)) }
            }
            Check::Replay => ran(replay(self.engine, self.claim, None)?, Some(Audience::Public)),
        })
    }

    fn model(&self) -> &Model {
        self.engine.model()
    }

    fn trace(&self) -> Tracer<'_> {
        let (ids, from) = transcript(self.model(), self.claim);
        Tracer::whole(self.engine, &ids, from, CHUNK)
    }

    /// The prover commits first, then parts are drawn, then it opens them.
    fn parts(&self, count: u32) -> anyhow::Result<Ran> {
        let check = Check::Parts(count);
        let prepared = vectors::load(self.shell, self.model())?;
        let ran = |verdict, seconds, bytes| Ran {
            check,
            verdict,
            audience: Some(Audience::Designated),
            seconds,
            opening_bytes: Some(bytes),
        };
        let opener = commit(self.engine, self.claim);
        let Some(opener) = opener.filter(|opener| Some(opener.root()) == self.claim.trace) else {
            // An honest run has another root: whoever made the claim can't open it.
            let place = TracePlace { position: 0, block: 0, operation: TraceOperation::Residual };
            let reason = Reason::ExecutionTrace { place, fault: TraceFault::Commitment };
            return Ok(ran(Verdict::Reject(reason), 0.0, 0));
        };
        let all = self.model().tensors.blocks.len() + 1;
        let parts = draw_parts(&random_bytes()?, all, count as usize);
        let (ids, from) = transcript(self.model(), self.claim);
        let tokens = ids.len();
        let recorded = Tracer::new(self.engine, &ids, from, tokens, &parts).next();
        let recorded = recorded.context("a claim with a root has tokens")?;
        let coins = AuditCoins { attention: random_bytes()? };
        let (mut bytes, mut opening_s) = (0, 0.0);
        let began = Instant::now();
        let verdict = audit_parts(&self.subject, &prepared, self.claim, coins, &parts, |place| {
            let began = Instant::now();
            let opening = opener.open(&recorded, place).map(|opening| opening.encode()).unwrap_or_default();
            bytes += opening.len();
            opening_s += began.elapsed().as_secs_f64();
            opening
        })?;
        let verdict = verdict.context("the claim has a root")?;
        Ok(ran(verdict, began.elapsed().as_secs_f64() - opening_s, bytes))
    }
}

/// The prover's chunks, and how long it takes for them.
struct Timed<I> {
    chunks: I,
    seconds: f64,
}

impl<I> Timed<I> {
    fn new(chunks: I) -> Self {
        Self { chunks, seconds: 0.0 }
    }
}

impl<I: Iterator> Iterator for Timed<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let began = Instant::now();
        let next = self.chunks.next();
        self.seconds += began.elapsed().as_secs_f64();
        next
    }
}

/// What is granted to whoever tries again and again, for the report.
fn adaptive() -> (u32, u32) {
    designated_bits_adaptive()
}
