//! `maxwell coverage`: what a share of checked answers proves, and what it costs. Never more than a plan: no verdict
//! depends on a number here, and none is measured.

mod numbers;
mod plan;
mod plot;
mod tables;

use std::path::PathBuf;

use clap::Args;
use recomputer::coverage::{Positive, Probability, Sampling, Traffic};
use serde_json::json;

use self::plan::Plan;
use self::tables::Tables;
use super::Shell;
use crate::output::{Exit, Finished, Misuse};

/// Arguments of `maxwell coverage`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub(crate) struct CoverageArguments {
    /// Share of answers that are checked
    #[arg(long, value_name = "SHARE", default_value = "1e-3")]
    eps: Probability,
    /// Chance that the check of a cheated answer shows the cheat; 1 for exact replay
    #[arg(long, value_name = "CHANCE", default_value = "1")]
    power: Probability,
    /// Wanted chance to catch at least one cheat
    #[arg(long, value_name = "CHANCE", default_value = "0.99")]
    confidence: Probability,
    /// Share of answers that are cheated; the smallest that matters
    #[arg(long, value_name = "SHARE", default_value = "0.01")]
    share: Probability,
    /// Answers per second of one server
    #[arg(long, value_name = "PER_SECOND", default_value = "10")]
    rate: Positive,
    /// Time within which a cheat on one server must be caught
    #[arg(long, value_name = "SECONDS", default_value = "86400")]
    time: Positive,
    /// Accelerators that generate, in any unit
    #[arg(long, value_name = "UNITS", default_value = "1e5")]
    fleet: Positive,
    /// Cost of a replay as a share of its generation's, as `maxwell bench engine` measures it
    #[arg(long, value_name = "RATIO", default_value = "0.13")]
    replay_share: Positive,
    /// Requests of one epoch, of which a lottery draws some, none twice; 1000, or 100 for each cheated one, if not
    /// given
    #[arg(long, value_name = "N")]
    requests: Option<u64>,
    /// Cheated answers: of all with --eps, and of one epoch's requests with --sample
    #[arg(long, value_name = "K", default_value_t = 10)]
    cheated: u64,
    /// Requests that the lottery draws
    #[arg(long, value_name = "N", default_value_t = 100)]
    sample: u64,
    /// Exact checks that found the answer as claimed
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    clean: u64,
    /// Exact checks that found another answer
    #[arg(long, value_name = "K", default_value_t = 0)]
    failed: u64,
    /// Risk to be caught that a cheater takes
    #[arg(long, value_name = "CHANCE", default_value = "0.05")]
    risk: Probability,
    /// Draw the chance of a catch over the number of cheated answers to this file
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell coverage
  maxwell coverage --eps 1e-2 --share 0.05 --rate 0.2
  maxwell coverage --requests 10000 --cheated 10 --sample 3689
  maxwell coverage --clean 50000 --failed 1 --json | jq .checks.deviating_share_max
  maxwell coverage --eps 2e-4 --plot coverage.svg

Every answer is checked by a lottery of its own with chance --eps, unless a fixed --sample of --requests is drawn.
A replay cost 0.10 (AMX kernels) and 0.13 (AVX-512 kernels) of its generation on the machine of docs/results.md, and
up to 0.24 elsewhere; measure yours with maxwell bench engine. In JSON null stands for what no number reaches: never,
or not even with every answer checked.
These are plans in floating point. No verdict depends on them.";

/// Requests of an epoch if nothing is given: this many, or so many for each cheated one.
const REQUESTS: u64 = 1000;
const REQUESTS_PER_CHEATED: u64 = 100;

impl CoverageArguments {
    fn requests(&self) -> u64 {
        self.requests.unwrap_or_else(|| self.cheated.saturating_mul(REQUESTS_PER_CHEATED).max(REQUESTS))
    }

    fn sampling(&self) -> Sampling {
        Sampling { checked_share: self.eps, power: self.power }
    }

    fn traffic(&self) -> Traffic {
        Traffic { answers_per_second: self.rate, cheated_share: self.share }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &CoverageArguments, shell: &Shell) -> anyhow::Result<Finished> {
    // What is wrong with counts shows only when they are compared.
    let plan = Plan::new(arguments).map_err(|error| Misuse(error.to_string()))?;
    let tables = Tables::new(arguments.power, arguments.confidence)?;
    let mut json = plan.json();
    json["tables"] = tables.json();
    json["plot"] = json!(arguments.plot);
    if let Some(path) = &arguments.plot {
        plot::plot(path, arguments.sampling())?;
        shell.terminal.note(format_args!("drawn to {}", path.display()));
    }
    Ok(Finished { exit: Exit::Ok, json, text: format!("{}\n{}", plan.text(), tables.text()) })
}
