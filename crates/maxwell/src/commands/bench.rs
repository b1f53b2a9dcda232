//! `maxwell bench`: quality and speed beside others, on this machine, now. Never a number without its sample
//! size, its limit and whether it kept to it.

mod audit;
mod energy;
mod engine;
pub(super) mod fingerprint;
mod gateway;
mod limits;
mod market;
mod oracle;
mod plot;
pub(super) mod power;
mod proof;
mod quality;
mod replay;
mod texts;

use clap::{Args, Subcommand};

use super::Shell;
use crate::output::Finished;

/// What the benches run if nothing else is named.
pub(super) const MODEL: &str = "smollm2-135m";

/// Arguments of `maxwell bench`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArguments {
    #[command(subcommand)]
    bench: Bench,
}

const EXAMPLES: &str = "\
Examples:
  maxwell bench quality --tokens 4096
  maxwell bench engine --runs 5
  maxwell bench gateway --alone
  maxwell bench replay --batch 8
  maxwell bench proof --outputs 16,64,256
  maxwell bench audit --block-7b
  maxwell bench market
  maxwell bench energy --data ./power
  maxwell bench fingerprint --data ./power --plot roc.svg

All but replay, audit, market, energy, fingerprint and proof need python3 with venv and pip, for the programs to compare with; they are installed once into $MAXWELL_HOME.
For quality and engine, set MAXWELL_ORACLE_PYTHON to the python of an environment that has them to use that instead.";

/// One bench.
#[derive(Debug, Subcommand)]
enum Bench {
    /// Perplexity, KL and top-1 against a float32 pass on the same weights; llama.cpp beside it
    Quality(quality::QualityArguments),
    /// Speed, replay, start and memory, beside llama.cpp
    Engine(engine::EngineArguments),
    /// Cost of recomputing answers: one by one, in a batch, and beside writing them
    Replay(replay::ReplayArguments),
    /// Cost of checking a trace without multiplying a matrix, beside a replay
    Audit(audit::AuditArguments),
    /// Proofs: seconds, bytes and memory over the number of tokens, beside writing and replaying them
    Proof(proof::ProofArguments),
    /// Clearing an epoch's bids, and booking entries
    Market(market::MarketArguments),
    /// What the energy check catches, on recorded runs, and what it costs
    Energy(energy::EnergyArguments),
    /// What a minute of power says about the load, on recorded runs
    Fingerprint(fingerprint::FingerprintArguments),
    /// What the gateway adds and how much it takes, beside nginx and LiteLLM
    Gateway(gateway::GatewayArguments),
}

/// Runs the bench.
pub(crate) fn run(arguments: &BenchArguments, shell: &Shell) -> anyhow::Result<Finished> {
    match &arguments.bench {
        Bench::Quality(arguments) => quality::run(arguments, shell),
        Bench::Engine(arguments) => engine::run(arguments, shell),
        Bench::Replay(arguments) => replay::run(arguments, shell),
        Bench::Proof(arguments) => proof::run(arguments, shell),
        Bench::Audit(arguments) => audit::run(arguments, shell),
        Bench::Market(arguments) => market::run(arguments, shell),
        Bench::Energy(arguments) => energy::run(arguments, shell),
        Bench::Fingerprint(arguments) => fingerprint::run(arguments, shell),
        Bench::Gateway(arguments) => gateway::run(arguments, shell),
    }
}
