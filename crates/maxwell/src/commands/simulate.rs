//! `maxwell simulate market`: the node's rules on a made-up chassis over virtual hours, against throttling the CPU blindly.
//! The same state machine as the node's; nothing here decides what an agent is paid or charged.

mod agents;
mod baseline;
mod governed;
mod picture;
#[cfg(test)]
mod tests;
mod world;

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use self::agents::{Kind, Population};
use self::world::Tally;
use super::Shell;
use crate::output::{Exit, Finished};
use crate::progress::{Count, Progress};

/// Arguments of `maxwell simulate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SimulateArguments {
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "\
Examples:
  maxwell simulate market
  maxwell simulate market --scenario miners --hours 4 --seeds 20 --plot heat.svg
  maxwell simulate market --json | jq '.scenarios[0].governed'";

/// What is simulated.
#[derive(Debug, Subcommand)]
enum What {
    /// Agents on one chassis: the node's auction, wallet and checks against throttling the CPU blindly
    Market(MarketArguments),
}

/// Arguments of `maxwell simulate market`.
#[derive(Debug, Args)]
struct MarketArguments {
    /// Who takes part; all scenarios if not given
    #[arg(long, value_enum)]
    scenario: Option<Scenario>,
    /// Virtual hours
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=48))]
    hours: u32,
    /// Runs with different seeds, from --seed on
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Draw the accelerator's temperature of the first run to this file
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Everybody
    Mixed,
    /// Honest agents, and miners beside inference
    Miners,
    /// Honest agents, and endless loops in the background
    Loopers,
    /// Honest agents, and those that claim answers that they did not compute
    Liars,
}

impl Scenario {
    const ALL: [Self; 4] = [Self::Mixed, Self::Miners, Self::Loopers, Self::Liars];

    const fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Miners => "miners",
            Self::Loopers => "loopers",
            Self::Liars => "liars",
        }
    }

    fn population(self) -> Population {
        let (honest, miners, loopers, sleepers, swappers, replayers) = match self {
            Self::Mixed => (6, 2, 2, 1, 2, 1),
            Self::Miners => (6, 4, 0, 0, 0, 0),
            Self::Loopers => (6, 0, 4, 0, 0, 0),
            Self::Liars => (6, 0, 0, 2, 2, 2),
        };
        Population(vec![
            (Kind::Honest, honest),
            (Kind::Miner, miners),
            (Kind::Looper, loopers),
            (Kind::Sleeper, sleepers),
            (Kind::Swapper, swappers),
            (Kind::Replayer, replayers),
        ])
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &SimulateArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let What::Market(arguments) = &arguments.what;
    let scenarios = arguments.scenario.map_or_else(|| Scenario::ALL.to_vec(), |scenario| vec![scenario]);
    let total = scenarios.len() as u64 * arguments.seeds;
    let (progress, mut done) = (Progress::new(shell.terminal, "simulating", Count::Steps(total)), 0);
    let mut text = format!(
        "{} virtual hours, seeds {} to {}; means over the seeds, least and most in brackets\n",
        arguments.hours,
        arguments.seed,
        arguments.seed + arguments.seeds - 1
    );
    let mut scenarios_json = Vec::new();
    for (number, scenario) in scenarios.into_iter().enumerate() {
        let population = scenario.population();
        let (mut governed, mut blind) = (Vec::new(), Vec::new());
        for seed in arguments.seed..arguments.seed + arguments.seeds {
            governed.push(governed::run(&population, arguments.hours, seed)?);
            blind.push(baseline::run(&population, arguments.hours, seed));
            done += 1;
            progress.set(done);
        }
        if let Some(path) = arguments.plot.as_ref().filter(|_| number == 0) {
            let first =
                |tallies: &[Tally]| tallies.first().map_or_else(Vec::new, |tally| tally.gpu_celsius.clone());
            picture::plot(path, scenario.name(), &first(&governed), &first(&blind))?;
            shell.terminal.note(format_args!("drawn to {}", path.display()));
        }
        let _ = write!(text, "\n{}", table(scenario, &governed, &blind));
        scenarios_json.push(json!({
            "scenario": scenario.name(),
            "governed": figures(&governed),
            "blind": figures(&blind),
            "tokens_per_joule_gain": gain(&governed, &blind),
            "fraud_prevented": prevented(&governed, &blind),
        }));
    }
    let json = json!({ "hours": arguments.hours, "first_seed": arguments.seed, "seeds": arguments.seeds, "scenarios": scenarios_json });
    Ok(Finished { exit: Exit::Ok, json, text })
}

/// One figure of a run.
type Of = fn(&Tally) -> f64;

/// Name and figure, in the order of the table.
const FIGURES: [(&str, Of, usize); 10] = [
    ("useful tokens, million", |t| t.useful_tokens as f64 / 1e6, 3),
    ("energy, MJ", |t| t.joules / 1e6, 2),
    ("useful tokens per joule", Tally::tokens_per_joule, 3),
    ("GPU throttled, minutes", |t| t.throttled_seconds / 60.0, 1),
    ("GPU starved by its CPU, minutes", |t| t.starved_seconds / 60.0, 1),
    ("hottest GPU, degrees", |t| t.hottest, 1),
    ("fraud paid, credits", |t| t.fraud as f64 / 1e6, 3),
    ("verification, credits", |t| t.verification as f64 / 1e6, 3),
    ("cheats stopped or throttled, share", Tally::caught_share, 2),
    ("honest agents stopped or throttled", |t| f64::from(t.honest_hurt), 2),
];

fn table(scenario: Scenario, governed: &[Tally], blind: &[Tally]) -> String {
    let mut text = format!("{:<38} {:>26} {:>26}\n", scenario.name(), "maxwell", "throttle blindly");
    for (name, of, places) in FIGURES {
        let cell = |tallies: &[Tally]| {
            let (mean, least, most) = spread(tallies, of);
            format!("{mean:.places$} ({least:.places$}-{most:.places$})")
        };
        let _ = writeln!(text, "  {name:<36} {:>26} {:>26}", cell(governed), cell(blind));
    }
    let verification = spread(governed, |tally| tally.verification as f64).0;
    let prevented = prevented(governed, blind);
    let verdict = if verification < prevented { "less than" } else { "NOT less than" };
    let _ = writeln!(
        text,
        "  useful tokens per joule {:+.1}%; verification cost {:.3} is {verdict} the fraud prevented, {:.3} credits",
        gain(governed, blind) * 100.0,
        verification / 1e6,
        prevented / 1e6
    );
    text
}

/// Mean, least and most.
fn spread(tallies: &[Tally], of: impl Fn(&Tally) -> f64) -> (f64, f64, f64) {
    let values: Vec<f64> = tallies.iter().map(of).collect();
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (mean, least, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

fn gain(governed: &[Tally], blind: &[Tally]) -> f64 {
    spread(governed, Tally::tokens_per_joule).0 / spread(blind, Tally::tokens_per_joule).0 - 1.0
}

/// Microcredits that blind throttling pays for nothing, less those that are paid in spite of all checks.
fn prevented(governed: &[Tally], blind: &[Tally]) -> f64 {
    spread(blind, |tally| tally.fraud as f64).0 - spread(governed, |tally| tally.fraud as f64).0
}

fn figures(tallies: &[Tally]) -> Value {
    let figure = |(name, of, _): (&str, Of, usize)| {
        let (mean, least, most) = spread(tallies, of);
        json!({ "name": name, "mean": mean, "least": least, "most": most })
    };
    FIGURES.into_iter().map(figure).collect()
}
