//! `maxwell prove`: a proof that a claim holds, for anybody who has the model's file or its manifest. Never writes a proof that it did not see accepted.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use model::Model;
use protocol::Claim;
use protocol::claim::MAX_CLAIM_BYTES;
use prover::{CommittedWeights, Phase};
use serde_json::json;
use verifier::verify::verify_trace;
use verifier::{Manifest, Outline, Proof};

use super::Shell;
use crate::home::{read_bounded, write_atomic};
use crate::models::{self, OpenModel};
use crate::output::{Exit, Finished};

/// Arguments of `maxwell prove`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ProveArguments {
    /// The claim
    #[arg(value_name = "FILE")]
    claim: PathBuf,
    /// Where the proof goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The model; without it the one that the claim names is looked for among those that were pulled or used here
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// Threads; one per CPU if not given. The proof does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Open the weights too, so that whoever has the model's manifest can verify without the model. Takes about 20 bytes of memory a weight
    #[arg(long)]
    thin: bool,
}

const EXAMPLES: &str = "\
Examples:
  maxwell generate -m smollm2-135m -p \"Why is the sky blue?\" --claim sky.claim
  maxwell prove sky.claim -o sky.proof
  maxwell verify sky.claim sky.proof
  maxwell prove sky.claim -o sky.proof --thin
  maxwell verify sky.claim sky.proof --manifest smollm2.manifest

The proof covers every operation from the prompt's tokens to the output's, attention and the choice of each token
included. Not provable yet: top-k, top-p and min-p, penalties, log-probabilities, and families other than llama; such a
claim is refused before any work.

Exit codes: 0 proven, 1 error or not provable.";

/// The phases in their order, and what they are called.
const PHASES: [(Phase, &str); 7] = [
    (Phase::Trace, "running the tokens"),
    (Phase::Commit, "committing to the trace"),
    (Phase::Lookups, "proving lookups"),
    (Phase::Steps, "proving operations"),
    (Phase::Open, "opening the commitment"),
    (Phase::Weights, "committing to the weights"),
    (Phase::OpenWeights, "opening the weights"),
];

/// Runs the command.
pub(crate) fn run(arguments: &ProveArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let claim = Claim::decode(&read_bounded(&arguments.claim, MAX_CLAIM_BYTES)?)?;
    let opened = open_for(shell, arguments.model.as_deref(), &claim)?;
    let threads = arguments.threads.map_or(0, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("can't start threads")?;
    let phases = if arguments.thin { PHASES.len() } else { PHASES.len() - 2 };
    let progress = Progress::new(shell.terminal.is_quiet(), phases as u64);
    let began = Instant::now();
    let mut proof = pool.install(|| prover::prove(&opened.model, &claim, &|phase| progress.enter(phase)))?;
    let manifest = if arguments.thin {
        Some(
            pool.install(|| open_weights(&opened.model, &claim, &mut proof, &|phase| progress.enter(phase)))?,
        )
    } else {
        None
    };
    let seconds = began.elapsed().as_secs_f64();
    let phases = progress.finish();
    let verified = Instant::now();
    let soundness = pool
        .install(|| match &manifest {
            Some(manifest) => verifier::verify_thin(manifest, &claim, &proof),
            None => verifier::verify(&opened.model, &claim, &proof),
        })
        .context("the finished proof does not hold; this is a bug, and nothing was written")?;
    let verify_seconds = verified.elapsed().as_secs_f64();
    let bytes = proof.encode();
    write_atomic(&arguments.output, &bytes)?;
    let tokens = claim.prompt_ids.len() + claim.output_ids.len();
    let peak = crate::machine::peak_memory_bytes();
    let text = format!(
        "Proven: {tokens} tokens in {seconds:.2} s, {} bytes, {} bits of security; verified again in {verify_seconds:.3} s\n  {}",
        crate::output::grouped(bytes.len() as u64),
        soundness.bits(),
        arguments.output.display(),
    );
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({
            "proof": arguments.output.display().to_string(),
            "thin": arguments.thin,
            "bytes": bytes.len(),
            "tokens": tokens,
            "seconds": seconds,
            "phases": phases.iter().map(|(name, took)| json!({ "phase": name, "seconds": took.as_secs_f64() })).collect::<Vec<_>>(),
            "verify_seconds": verify_seconds,
            "security_bits": soundness.bits(),
            "peak_memory_bytes": peak,
            "commitment": claim.model.to_string(),
            "claim_digest": claim.digest().to_string(),
        }),
        text,
    })
}

/// Lets a proof open the model's weights; gives the manifest that it can be verified with.
pub(super) fn open_weights(
    model: &Model,
    claim: &Claim,
    proof: &mut Proof,
    progress: &(dyn Fn(Phase) + Sync),
) -> anyhow::Result<Manifest> {
    let pending = verify_trace(&Outline::of(model), claim, proof)
        .context("the finished proof does not hold; this is a bug, and nothing was written")?;
    progress(Phase::Weights);
    let weights = CommittedWeights::new(model)?;
    progress(Phase::OpenWeights);
    proof.weights = Some(weights.open(pending));
    Ok(Manifest::new(model, weights.root()))
}

/// The model that was named, or the claim's own.
pub(super) fn open_for(shell: &Shell, reference: Option<&str>, claim: &Claim) -> anyhow::Result<OpenModel> {
    if let Some(reference) = reference {
        return models::open(&shell.home, shell.terminal, reference);
    }
    match models::find_commitment(&shell.home, &claim.model) {
        Some(file) => models::open_file(&shell.home, shell.terminal, file),
        None => {
            bail!("the claim's model {} is not here; pull it, or name its file with --model", claim.model)
        }
    }
}

/// Where the prover is, for people: a bar on a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    began: Mutex<Vec<(Phase, Instant)>>,
}

impl Progress {
    pub(super) fn new(quiet: bool, phases: u64) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(phases) };
        let style = ProgressStyle::with_template("{spinner} {pos}/{len} {msg} ({elapsed})");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, began: Mutex::new(Vec::new()) }
    }

    pub(super) fn enter(&self, phase: Phase) {
        let name = PHASES.iter().find(|(other, _)| *other == phase).map_or("", |(_, name)| *name);
        self.bar.inc(1);
        self.bar.set_message(name);
        tracing::debug!(phase = name, "proving");
        if let Ok(mut began) = self.began.lock() {
            began.push((phase, Instant::now()));
        }
    }

    /// How long each phase took.
    pub(super) fn finish(self) -> Vec<(&'static str, Duration)> {
        let end = Instant::now();
        self.bar.finish_and_clear();
        let began = self.began.into_inner().unwrap_or_default();
        let ends = began.iter().skip(1).map(|(_, start)| *start).chain([end]);
        let name =
            |phase: Phase| PHASES.iter().find(|(other, _)| *other == phase).map_or("", |(_, name)| *name);
        began
            .iter()
            .zip(ends)
            .map(|((phase, start), end)| (name(*phase), end.duration_since(*start)))
            .collect()
    }
}
