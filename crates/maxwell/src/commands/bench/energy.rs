//! `maxwell bench energy`: what the energy check catches and whom it accuses, on recorded runs of real machines, and what
//! it costs. Never calibrates and tests on the same run.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use hypervisor::energy::{Bounds, Energy, of_samples};
use hypervisor::fingerprint::interval;
use hypervisor::meters::{Meters, Roots};
use hypervisor::sensors::{Limits, PowerSample, Quantity, SECOND_NS};
use hypervisor::thermo::{Calibration, ClaimedWork, Outcome, Profile, ProfileKey};
use hypervisor::unexplained::Unexplained;
use market::ledger::{Account, AgentId, Asset, Entry, EntryKey, Ledger, Transfer};
use serde_json::{Value, json};

use super::limits::{Figure, Limit, Runs};
use super::power::{self, Recorded};
use crate::commands::Shell;
use crate::output::{Exit, Finished};

/// What the claims are about.
const CLAIMED: &str = "llama2-70b-99";
/// Agents of the always-on part.
const AGENTS: u8 = 64;
/// Its rate.
const HZ: f64 = 10.0;
/// Ticks that are measured.
const TICKS: u32 = 300;

/// Arguments of `maxwell bench energy`.
#[derive(Debug, Args)]
pub(crate) struct EnergyArguments {
    /// Folder with recorded runs (mlperf-inference-v4.1 and mlperf-training-v4.0 below it)
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// Seconds of one claim's window
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    window: u64,
}

/// One kind of claim, and what came of it.
struct Row {
    /// What is claimed about what.
    name: String,
    is_honest: bool,
    outcomes: Vec<Outcome>,
}

/// Runs the bench.
pub(crate) fn run(arguments: &EnergyArguments, _: &Shell) -> anyhow::Result<Finished> {
    let runs = power::read(&arguments.data)?;
    let window_ns = arguments.window * SECOND_NS;
    let mut rows = Vec::new();
    for scenario in ["Offline", "Server"] {
        let find =
            |name: String| runs.iter().find(|run| run.run == name).with_context(|| format!("no run {name}"));
        let calibrated = find(format!("{CLAIMED} {scenario} ranging"))?;
        let tested = find(format!("{CLAIMED} {scenario} run_1"))?;
        let profile = profile(calibrated, window_ns)?;
        let rate = tested.tokens_per_second.context("the run reports no tokens")?;
        rows.extend(of_scenario(&profile, scenario, tested, rate, window_ns));
        for other in runs.iter().filter(|run| run.benchmark != CLAIMED && run.run.contains(scenario)) {
            let outcomes = judge(&profile, other, rate, window_ns, |samples| samples.to_vec());
            rows.push(Row {
                name: format!("{scenario}: energy of {}", other.benchmark),
                is_honest: false,
                outcomes,
            });
        }
    }
    let figures = figures()?;
    let mut text = format!(
        "claims of {CLAIMED}, windows of {} s, profiles from other runs (ranging), measured at the wall once a second\n\n{:<54} {:>7} \
         {:>9} {:>16} {:>8} {:>7}",
        arguments.window, "claim", "windows", "flagged", "95% of share", "ratio", "nats"
    );
    for row in &rows {
        text.push('\n');
        text.push_str(&row.line());
    }
    text.push_str("\n\n");
    text.push_str(&figures.iter().map(Figure::line).collect::<Vec<_>>().join("\n"));
    let json = json!({
        "window_seconds": arguments.window,
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
        "figures": figures.iter().map(Figure::json).collect::<Vec<_>>(),
    });
    Ok(Finished { exit: Exit::Ok, json, text })
}

/// The honest claim, and the lies about a number or a trace.
fn of_scenario(profile: &Profile, scenario: &str, tested: &Recorded, rate: f64, window_ns: u64) -> Vec<Row> {
    let scaled = |factor: f64| {
        move |samples: &[PowerSample]| -> Vec<PowerSample> {
            samples.iter().map(|sample| PowerSample { watts: sample.watts * factor, ..*sample }).collect()
        }
    };
    let row = |name: &str, is_honest, factor: f64, change: &dyn Fn(&[PowerSample]) -> Vec<PowerSample>| Row {
        name: format!("{scenario}: {name}"),
        is_honest,
        outcomes: judge(profile, tested, rate * factor, window_ns, change),
    };
    vec![
        row("honest", true, 1.0, &scaled(1.0)),
        row("claimed twice the tokens", false, 2.0, &scaled(1.0)),
        row("claimed half the tokens", false, 0.5, &scaled(1.0)),
        row("claimed 1.2 times the tokens", false, 1.2, &scaled(1.0)),
        row("trace scaled by 0.8", false, 1.0, &scaled(0.8)),
        row("trace of another minute of the same run", false, 1.0, &|samples: &[PowerSample]| {
            let watts: Vec<f64> = samples.iter().map(|sample| sample.watts).rev().collect();
            samples.iter().zip(watts).map(|(sample, watts)| PowerSample { watts, ..*sample }).collect()
        }),
        row("filler at the expected power, other work", false, 1.0, &|samples: &[PowerSample]| {
            let per_second = profile.joules_per_token(1.0).map_or(0.0, |(joules, _)| joules * rate);
            let watts = profile.idle_watts + per_second;
            samples.iter().map(|sample| PowerSample { watts, ..*sample }).collect()
        }),
    ]
}

fn profile(run: &Recorded, window_ns: u64) -> anyhow::Result<Profile> {
    let key = ProfileKey {
        model: run.benchmark.clone(),
        device: "8 x H200 at the wall".to_owned(),
        count: 8,
        engine: "as recorded".to_owned(),
    };
    let rate = run.tokens_per_second.context("the run reports no tokens")?;
    let windows: Vec<Calibration> = windows(run, window_ns)
        .map(|(from, until)| Calibration {
            batch: 1.0,
            tokens: rate * (until - from) as f64 / SECOND_NS as f64,
            energy: energy(run, &run.trace.samples, from, until),
        })
        .collect();
    let (idle, sigma) = (run.phases.idle_watts, run.phases.idle_sigma_watts);
    Ok(Profile::calibrate(key, Quantity::Energy, idle, sigma, &windows)?)
}

/// Windows under load, without overlap.
fn windows(run: &Recorded, window_ns: u64) -> impl Iterator<Item = (u64, u64)> {
    let count = (run.phases.until_ns - run.phases.from_ns) / window_ns;
    let from = run.phases.from_ns;
    (0..count).map(move |at| (from + at * window_ns, from + (at + 1) * window_ns))
}

fn energy(run: &Recorded, samples: &[PowerSample], from: u64, until: u64) -> Energy {
    let most_watts = run.phases.idle_watts * 4.0;
    of_samples(samples, from, until, Limits::SERVER, Bounds { idle_watts: run.phases.idle_watts, most_watts })
}

fn judge(
    profile: &Profile,
    run: &Recorded,
    tokens_per_second: f64,
    window_ns: u64,
    change: impl Fn(&[PowerSample]) -> Vec<PowerSample>,
) -> Vec<Outcome> {
    let margin = 2 * SECOND_NS;
    windows(run, window_ns)
        .map(|(from, until)| {
            let samples = change(run.trace.between(from.saturating_sub(margin), until + margin));
            let tokens = tokens_per_second * (until - from) as f64 / SECOND_NS as f64;
            profile.judge(ClaimedWork { batch: 1.0, tokens }, &energy(run, &samples, from, until))
        })
        .collect()
}

impl Row {
    fn flagged(&self) -> u32 {
        self.outcomes.iter().filter(|outcome| outcome.nats() < 0.0).count() as u32
    }

    fn median(&self, of: impl Fn(&Outcome) -> Option<f64>) -> f64 {
        let values: Vec<f64> = self.outcomes.iter().filter_map(of).collect();
        if values.is_empty() { f64::NAN } else { Runs::new(values).median() }
    }

    fn ratio(&self) -> f64 {
        self.median(|outcome| match outcome {
            Outcome::Evidence(evidence) => Some(evidence.ratio),
            Outcome::Undecided(_) => None,
        })
    }

    fn line(&self) -> String {
        let (flagged, all) = (self.flagged(), self.outcomes.len() as u32);
        let (least, most) = interval(flagged, all);
        format!(
            "{:<54} {all:>7} {flagged:>9} {:>16} {:>8.3} {:>7.2}{}",
            self.name,
            format!("{:.1}-{:.1}%", least * 100.0, most * 100.0),
            self.ratio(),
            self.median(|outcome| Some(outcome.nats())),
            if self.is_honest { "  (false alarms)" } else { "" }
        )
    }

    fn json(&self) -> Value {
        let (flagged, all) = (self.flagged(), self.outcomes.len() as u32);
        let (least, most) = interval(flagged, all);
        let undecided =
            self.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Undecided(_))).count();
        json!({
            "claim": self.name, "honest": self.is_honest, "windows": all, "flagged": flagged, "undecided": undecided,
            "share_95": [least, most], "median_ratio": self.ratio(), "median_nats": self.median(|o| Some(o.nats())),
        })
    }
}

/// What the check and the always-on part cost on this machine.
fn figures() -> anyhow::Result<[Figure; 2]> {
    let key = ProfileKey { model: "m".into(), device: "d".into(), count: 1, engine: "e".into() };
    let of = |joules: f64| Energy { joules, sigma: 1.0, window_ns: 60 * SECOND_NS, gap_ns: 0, updates: 600 };
    let windows = [Calibration { batch: 1.0, tokens: 1000.0, energy: of(300.0) }; 4];
    let profile = Profile::calibrate(key, Quantity::Energy, 1.0, 0.1, &windows)?;
    let samples: Vec<PowerSample> = (0..600)
        .map(|at| PowerSample {
            at_ns: at * SECOND_NS / 10,
            watts: 5.0,
            celsius: None,
            quality: hypervisor::sensors::Quality::Good,
        })
        .collect();
    let bounds = Bounds { idle_watts: 1.0, most_watts: 9.0 };
    let claim = ClaimedWork { batch: 1.0, tokens: 1000.0 };
    let verdicts: Vec<f64> = (0..1000)
        .map(|_| {
            let began = Instant::now();
            let measured = of_samples(&samples, 0, 60 * SECOND_NS, Limits::ACCELERATOR, bounds);
            black_box(profile.judge(claim, &measured));
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    let mut ledger = Ledger::default();
    ledger.apply(entry(0, 0, Account::Outside, u64::from(u32::MAX)))?;
    let (mut meters, mut books) =
        (Meters::open(Roots::default()), vec![Unexplained::default(); usize::from(AGENTS)]);
    let ticks: Vec<f64> = (1..=TICKS)
        .map(|tick| {
            let began = Instant::now();
            black_box(meters.look(u64::from(tick) * SECOND_NS / 10));
            for (agent, book) in (0..AGENTS).zip(&mut books) {
                black_box(book.book(&profile, &[(&profile, claim)], &of(300.0)));
                black_box(profile.judge(claim, &of(300.0)));
                let charged = ledger.apply(entry(tick, agent + 1, Account::Agent(AgentId([0; 32])), 1));
                black_box(charged.is_ok());
            }
            began.elapsed().as_secs_f64()
        })
        .collect();
    let figure = |name, value, limit| Figure { name, value, places: 4, limit };
    Ok([
        figure("energy check of 600 samples, ms", Runs::new(verdicts).median(), Limit::AtMost(1.0)),
        figure(
            "always on, 64 agents at 10 Hz, % of a core",
            Runs::new(ticks).median() * HZ * 100.0,
            Limit::AtMost(1.0),
        ),
    ])
}

fn entry(tick: u32, agent: u8, from: Account, amount: u64) -> Entry {
    let to = if from == Account::Outside { Account::Agent(AgentId([0; 32])) } else { Account::Operator };
    let key = EntryKey::of("maxwell 2026-11 bench tick v1", &[&tick.to_le_bytes(), &[agent]]);
    Entry { key, transfers: vec![Transfer { asset: Asset::Microjoules, from, to, amount }] }
}
