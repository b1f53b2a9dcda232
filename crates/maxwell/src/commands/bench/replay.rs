//! `maxwell bench replay`: what it costs to recompute answers, one by one and in batches, beside writing them. Must never
//! print a ratio of replays whose verdicts differ.

use std::time::Instant;

use anyhow::bail;
use clap::Args;
use engine::{Engine, Request, complete};
use evidence::replay::{replay_batch, replay_delivered};
use protocol::{Claim, ClientSeed, Nonce, SamplingSettings, Verdict};
use serde_json::json;

use super::MODEL;
use super::limits::Runs;
use crate::commands::Shell;
use crate::models::{self, RunOptions};
use crate::output::{Exit, Finished};

/// Arguments of `maxwell bench replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(short, long, value_name = "MODEL", default_value = MODEL)]
    model: String,
    /// Answers in a batch
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    batch: u8,
    /// Tokens of each answer, and of each prompt
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    tokens: u32,
    /// Measure so often; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    runs: u8,
    #[command(flatten)]
    run: RunOptions,
}

/// Runs the bench.
pub(crate) fn run(arguments: &ReplayArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    let engine = opened.engine(arguments.run)?;
    let began = Instant::now();
    let claims: Vec<Claim> = (0..arguments.batch)
        .map(|number| answer(&engine, number, arguments.tokens))
        .collect::<anyhow::Result<_>>()?;
    let written_s = began.elapsed().as_secs_f64();
    let references: Vec<&Claim> = claims.iter().collect();
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    // In turns, so that a busy machine is as unfair to one as to the other.
    for _ in 0..arguments.runs {
        let began = Instant::now();
        let single: Vec<Verdict> =
            claims.iter().map(|claim| replay_delivered(&engine, claim, None)).collect::<Result<_, _>>()?;
        alone.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        let batch: Vec<Verdict> = replay_batch(&engine, &references).into_iter().collect::<Result<_, _>>()?;
        together.push(began.elapsed().as_secs_f64());
        if single != batch || single.iter().any(|verdict| *verdict != Verdict::Accept) {
            bail!("the verdicts are not those of honest answers, or differ in a batch");
        }
    }
    let (alone_s, together_s) = (Runs::new(alone).median(), Runs::new(together).median());
    let (batch, tokens, runs) = (arguments.batch, arguments.tokens, arguments.runs);
    let json = json!({
        "answers": batch,
        "tokens": tokens,
        "runs": runs,
        "written_s": written_s,
        "alone_s": alone_s,
        "batched_s": together_s,
        "batch_speedup": alone_s / together_s,
        "replay_over_writing": together_s / written_s,
    });
    let text = format!(
        "{batch} answers of {tokens} tokens to prompts of {tokens}, median of {runs} runs:\n  written one by one   \
         {written_s:.3} s\n  replayed one by one  {alone_s:.3} s\n  replayed together    {together_s:.3} s, {:.2} \
         times as fast, {:.3} of writing them",
        alone_s / together_s,
        together_s / written_s
    );
    Ok(Finished { exit: Exit::Ok, json, text })
}

/// An honest answer to a prompt of arbitrary tokens.
fn answer(engine: &Engine, number: u8, tokens: u32) -> anyhow::Result<Claim> {
    let vocabulary = engine.model().config.vocab;
    let mut settings = SamplingSettings::greedy();
    settings.max_tokens = tokens;
    settings.stop_at_end = false;
    let prompt_ids = (0..tokens).map(|at| (at * 7919 + u32::from(number) * 104_729) % vocabulary).collect();
    let nonce = Nonce::from_bytes([number; 32]);
    let request = Request { prompt_ids, settings, nonce, client_seed: ClientSeed::from_bytes([0; 32]) };
    let completed = complete(engine, request.clone(), |_| {})?;
    Ok(completed.into_claim(engine.model(), request, false))
}
