//! `maxwell bench engine`: speed, replay, start and memory on this machine, llama.cpp in turns with us. Never
//! measures a path that `generate` and `check` do not take.

mod peaks;
mod report;
mod start;

use std::process::Stdio;
use std::time::Instant;

use ::engine::kernels::Isa;
use ::engine::{Engine, Request};
use anyhow::{Context, bail};
use clap::Args;
use protocol::id::ID_BYTES;
use protocol::{Claim, ClientSeed, Nonce, SamplingSettings, Verdict};
use serde_json::Value;

use self::peaks::Peaks;
use self::report::Measured;
use self::start::StartRuns;
use super::MODEL;
use super::limits::Runs;
use super::oracle::{Oracles, Script};
use crate::commands::Shell;
use crate::commands::inspect::Costs;
use crate::generation::{Figures, generate};
use crate::machine;
use crate::models::{self, OpenModel, RunOptions};
use crate::output::{Exit, Finished};
use crate::progress::{Count, Progress};

/// The same work as `oracle/llama_cpp.py --bench`.
const PREFILL_TOKENS: usize = 256;
const PROMPT_TOKENS: usize = 32;
const DECODE_TOKENS: u32 = 128;
/// Generated, then replayed.
const REPLAY_TOKENS: u32 = 256;

/// Arguments of `maxwell bench engine`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EngineArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(short, long, value_name = "MODEL", default_value = MODEL)]
    model: String,
    /// Threads, for us and for llama.cpp
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Instructions to use: portable, avx2, avx512 or amx; the fastest if not given
    #[arg(long, value_name = "NAME", value_parser = models::parse_kernels)]
    kernels: Option<Isa>,
    /// Rounds; in each, we run once and llama.cpp's own five runs follow
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// Leave llama.cpp out
    #[arg(long)]
    alone: bool,
}

const EXAMPLES: &str = "\
Examples:
  maxwell bench engine
  maxwell bench engine --runs 10 --threads 2 --json
  maxwell bench engine --alone --runs 3

Our decode speed includes the fingerprint and the choice of every token; llama.cpp's includes the arg-max. llama.cpp
spins its threads, so let nothing else run meanwhile: the load average is printed.";

/// Runs the command.
pub(super) fn run(arguments: &EngineArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    if opened.model.config.context < REPLAY_TOKENS + PREFILL_TOKENS as u32 {
        bail!("the model's context is too short for this bench; take another model");
    }
    let oracles = if arguments.alone { None } else { Some(Oracles::prepare(shell)?) };
    let machine = (machine::line(), machine::json());
    let rounds = u64::from(arguments.runs);
    let progress = Progress::new(shell.terminal, "measuring", Count::Steps(rounds));
    // Fresh processes first, while this one holds little.
    let run = RunOptions { threads: Some(arguments.threads), kernels: arguments.kernels };
    let starts = StartRuns::measure(&arguments.model, run, arguments.runs)?;
    let engine = opened.engine(run)?;
    let mut ours = Ours::default();
    let mut llama = Llama::default();
    measure_once(&engine)?;
    for round in 0..rounds {
        ours.add(&measure_once(&engine)?);
        if let Some(oracles) = &oracles {
            llama.add(&measure_llama(oracles, &opened, arguments.threads)?)?;
        }
        progress.set(round + 1);
    }
    drop(progress);
    let measured = Measured {
        model: opened.display_name(),
        machine,
        threads: arguments.threads,
        kernels: engine.isa().name(),
        file_bytes: opened.file_bytes,
        weight_bytes: engine.weight_bytes(),
        costs: Costs::of(&opened.model),
        peaks: Peaks::measure(engine.isa(), usize::from(arguments.threads))?,
        ours,
        llama: oracles.is_some().then_some(llama),
        starts,
    };
    Ok(Finished { exit: Exit::Ok, json: measured.json(), text: measured.readable() })
}

/// Our runs.
#[derive(Debug, Default)]
struct Ours {
    decode: Vec<f64>,
    prefill: Vec<f64>,
    replay_share: Vec<f64>,
    generation_seconds: Vec<f64>,
    replay_seconds: Vec<f64>,
}

/// llama.cpp's runs, and what it says about itself.
#[derive(Debug, Default)]
struct Llama {
    decode: Vec<f64>,
    prefill: Vec<f64>,
    build: Value,
}

/// One round of ours.
struct Round {
    decode: f64,
    prefill: f64,
    generation_seconds: f64,
    replay_seconds: f64,
}

impl Ours {
    fn add(&mut self, round: &Round) {
        self.decode.push(round.decode);
        self.prefill.push(round.prefill);
        self.replay_share.push(round.replay_seconds / round.generation_seconds);
        self.generation_seconds.push(round.generation_seconds);
        self.replay_seconds.push(round.replay_seconds);
    }
}

impl Llama {
    fn add(&mut self, json: &Value) -> anyhow::Result<()> {
        for (key, into) in [("decode_tok_s", &mut self.decode), ("prefill_tok_s", &mut self.prefill)] {
            let runs =
                json[key]["runs"].as_array().with_context(|| format!("llama.cpp's bench has no {key}"))?;
            into.extend(runs.iter().filter_map(Value::as_f64));
        }
        self.build = json["build"].clone();
        Ok(())
    }
}

fn measure_once(engine: &Engine) -> anyhow::Result<Round> {
    let (_, prefill) = run_request(engine, PREFILL_TOKENS, 1)?;
    // The first token belongs to the prompt, so one more than are timed.
    let (_, decode) = run_request(engine, PROMPT_TOKENS, DECODE_TOKENS + 1)?;
    let (claim, generation) = run_request(engine, PROMPT_TOKENS, REPLAY_TOKENS)?;
    let began = Instant::now();
    let verdict = evidence::replay::replay(engine, &claim, Some(&claim.nonce))?;
    let replay_seconds = began.elapsed().as_secs_f64();
    if verdict != Verdict::Accept {
        bail!("the replay of our own claim ends with: {verdict}");
    }
    Ok(Round {
        decode: decode.decode_rate().context("more than one token was asked for")?,
        prefill: prefill.prefill_rate(),
        generation_seconds: generation.total.as_secs_f64(),
        replay_seconds,
    })
}

/// Greedy, over end tokens, on the same made-up prompt as `oracle/llama_cpp.py --bench`.
fn run_request(engine: &Engine, prompt: usize, tokens: u32) -> anyhow::Result<(Claim, Figures)> {
    let vocabulary = engine.model().config.vocab;
    let prompt = u32::try_from(prompt).context("a short prompt")?;
    let request = Request {
        prompt_ids: (0..prompt).map(|i| (7919 * i + 1) % vocabulary).collect(),
        settings: SamplingSettings { max_tokens: tokens, stop_at_end: false, ..SamplingSettings::greedy() },
        nonce: Nonce::from_bytes([0; ID_BYTES]),
        client_seed: ClientSeed::from_bytes([0; ID_BYTES]),
    };
    let (completed, figures) = generate(engine, request.clone(), |_| Ok(()))?;
    if figures.output_tokens != tokens as usize {
        bail!("the bench's run ended early: {}", completed.finish);
    }
    Ok((completed.into_claim(engine.model(), request, false), figures))
}

fn measure_llama(oracles: &Oracles, opened: &OpenModel, threads: u16) -> anyhow::Result<Value> {
    let mut command = oracles.command(Script::LlamaCpp);
    command.arg(&opened.file.path).arg("--bench").args(["--threads", &threads.to_string()]);
    let output = command.stdout(Stdio::piped()).output().context("can't start llama.cpp's bench")?;
    if !output.status.success() {
        bail!("llama.cpp's bench ended with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("llama.cpp's bench printed no JSON")
}

/// Median, least and most.
fn runs(values: &[f64]) -> Runs {
    Runs::new(values.to_vec())
}
