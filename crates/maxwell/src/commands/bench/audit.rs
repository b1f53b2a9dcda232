//! `maxwell bench audit`: what it costs to check a whole transcript without multiplying a matrix, beside its replay, and
//! what it costs to show its numbers. Must never print a ratio of checks whose verdicts differ.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use engine::accumulate::KernelAccumulate;
use engine::trace::Tracer;
use engine::{Engine, Request, complete};
use evidence::audit::{AuditCoins, AuditModel, Auditor, transcript};
use evidence::field::Mersenne61;
use evidence::freivalds::Prepared;
use evidence::replay::replay;
use model::Model;
use model::commitment::calibrate_file;
use model::import::{Architecture, read_gguf};
use model::synthetic::SyntheticModel;
use protocol::{Claim, ClientSeed, Nonce, SamplingSettings, Verdict};
use serde_json::json;

use super::MODEL;
use super::limits::{Figure, Limit, Runs};
use crate::commands::Shell;
use crate::models::{self, RunOptions};
use crate::output::{Exit, Finished};

/// Tokens of a trace that are in memory at once.
const CHUNK: usize = 32;

/// Arguments of `maxwell bench audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(short, long, value_name = "MODEL", default_value = MODEL)]
    model: String,
    /// Instead of a model one random block in the shape of a 7B model's: width 4096, 32 heads, 11008 feed-forward
    #[arg(long, conflicts_with = "model")]
    block_7b: bool,
    /// Tokens of the answer; the prompt has 20
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    tokens: u32,
    /// Measure so often; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    runs: u8,
    #[command(flatten)]
    run: RunOptions,
}

/// Runs the bench.
pub(crate) fn run(arguments: &AuditArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let (engine, name) = if arguments.block_7b {
        (block_7b(arguments.run)?, "one block in the shape of 7B".to_owned())
    } else {
        let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
        (opened.engine(arguments.run)?, opened.display_name())
    };
    let claim = answer(&engine, arguments.tokens)?;
    let subject = AuditModel::new(engine.model().clone());
    let began = Instant::now();
    let prepared = Prepared::<Mersenne61>::new(engine.model(), &crate::random::random_bytes()?);
    let prepare_s = began.elapsed().as_secs_f64();
    let (mut replays, mut checks, mut traces, mut plains, mut ratios, mut chosen) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..arguments.runs {
        let began = Instant::now();
        let replayed = replay(&engine, &claim, None)?;
        let replay_s = began.elapsed().as_secs_f64();
        let attention = crate::random::random_bytes()?;
        let audited = audit(&engine, &subject, &prepared, &claim, AuditCoins { attention })?;
        if replayed != Verdict::Accept || audited.verdict != Verdict::Accept {
            bail!("the verdicts on an honest answer are: {replayed}; {}", audited.verdict);
        }
        ratios.push(audited.check.as_secs_f64() / replay_s);
        replays.push(replay_s);
        checks.push(audited.check.as_secs_f64());
        traces.push(audited.trace.as_secs_f64());
        plains.push(chunks_recording(&engine, &claim, &[]));
        chosen.push(chunks_recording(&engine, &claim, &[0]));
        bytes = audited.bytes;
    }
    let tokens = claim.prompt_ids.len() + claim.output_ids.len();
    let [replays, checks, traces, plains, ratios, chosen] =
        [replays, checks, traces, plains, ratios, chosen].map(Runs::new);
    let figure = Figure {
        name: "audit of a whole transcript, share of its replay",
        value: ratios.median(),
        places: 3,
        limit: Limit::AtMost(if arguments.block_7b { 0.05 } else { 0.25 }),
    };
    let recording = traces.median() / plains.median();
    let recording_one = chosen.median() / plains.median();
    let text = format!(
        "audit of {tokens} tokens of {} on {} kernels, median of {} runs\n  replay                    {} s\n  audit of the \
         trace        {} s\n  preparation, once         {prepare_s:.2} s\n  pass that records all     {} s, {recording:.2} \
         times the same chunks without\n  pass that records one block {recording_one:.2} times\n  numbers shown per token   {} kB as 64-bit integers\n{}",
        name,
        engine.isa().name(),
        arguments.runs,
        replays.text(3),
        checks.text(3),
        traces.text(3),
        bytes / tokens / 1000,
        figure.line(),
    );
    let json = json!({
        "tokens": tokens,
        "runs": arguments.runs,
        "replay_s": replays.median(),
        "audit_s": checks.median(),
        "prepare_s": prepare_s,
        "recording_s": traces.median(),
        "recording_over_plain": recording,
        "recording_one_block_over_plain": recording_one,
        "trace_bytes": bytes,
        "figures": [figure.json()],
    });
    Ok(Finished { exit: Exit::Ok, json, text })
}

/// A verdict, and what both sides took.
struct Timed {
    verdict: Verdict,
    check: Duration,
    trace: Duration,
    bytes: usize,
}

fn audit(
    engine: &Engine,
    subject: &AuditModel,
    prepared: &Prepared<Mersenne61>,
    claim: &Claim,
    coins: AuditCoins,
) -> anyhow::Result<Timed> {
    let (ids, from) = transcript(engine.model(), claim);
    let mut tracer = Tracer::whole(engine, &ids, from, CHUNK);
    let began = Instant::now();
    let mut auditor = match Auditor::new(subject, prepared, claim, coins) {
        Ok(auditor) => auditor,
        Err(verdict) => bail!("the audit of an honest answer ends with: {verdict}"),
    };
    let (mut check, mut trace, mut bytes) = (began.elapsed(), Duration::ZERO, 0);
    loop {
        let began = Instant::now();
        let Some(chunk) = tracer.next() else { break };
        trace += began.elapsed();
        let operations = chunk.blocks.iter().flat_map(|block| &block.operations);
        bytes += operations.map(|operation| operation.values.len() * size_of::<i64>()).sum::<usize>();
        let began = Instant::now();
        auditor.push(&chunk);
        check += began.elapsed();
    }
    let began = Instant::now();
    let verdict = auditor.finish()?;
    Ok(Timed { verdict, check: check + began.elapsed(), trace, bytes })
}

/// Seconds of the same chunks with a recorder of some blocks.
fn chunks_recording(engine: &Engine, claim: &Claim, blocks: &[usize]) -> f64 {
    let (ids, from) = transcript(engine.model(), claim);
    let began = Instant::now();
    let tracer = Tracer::new(engine, &ids, from, CHUNK, blocks);
    tracer.for_each(drop);
    began.elapsed().as_secs_f64()
}

/// A model of one block as wide as those of a 7B model, with random weights.
fn block_7b(run: RunOptions) -> anyhow::Result<Engine> {
    let shape = SyntheticModel {
        blocks: 1,
        width: 4096,
        heads: 32,
        kv_heads: 32,
        head_dim: 128,
        ff: 11_008,
        context: 4352,
        ..SyntheticModel::tiny(Architecture::Llama)
    };
    let file = read_gguf(Arc::new(shape.gguf()))?;
    let options = run.engine();
    let formats = calibrate_file(&file, &KernelAccumulate::new(options.isa), &mut |_| {})?;
    Ok(Engine::new(Arc::new(Model::assemble(file, formats)?), options)?)
}

/// An honest answer to a prompt of arbitrary tokens.
fn answer(engine: &Engine, tokens: u32) -> anyhow::Result<Claim> {
    let vocabulary = engine.model().config.vocab;
    let mut settings = SamplingSettings::greedy();
    settings.max_tokens = tokens;
    settings.stop_at_end = false;
    let prompt_ids = (0..20_u32).map(|at| (at * 7919 + 1) % vocabulary).collect();
    let nonce = Nonce::from_bytes([0; 32]);
    let request = Request { prompt_ids, settings, nonce, client_seed: ClientSeed::from_bytes([0; 32]) };
    let completed = complete(engine, request.clone(), |_| {})?;
    Ok(completed.into_claim(engine.model(), request, false))
}
