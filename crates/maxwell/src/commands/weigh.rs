//! `maxwell weigh`: a recorded log of power against the work that is claimed for it, and the claim itself where it is there, as
//! one conclusion. Meters alone never accept or reject.

use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use evidence::replay::replay;
use hypervisor::energy::of_samples;
use hypervisor::features::of_window;
use hypervisor::fingerprint::{Class, Classifier, Evaluation, evaluate};
use hypervisor::fusion::{Conclusion, Exact, Word, fuse};
use hypervisor::phases::Phases;
use hypervisor::sensors::replayed::Replayed;
use hypervisor::sensors::{Limits, PowerTrace, Quantity, SECOND_NS, read_log_file};
use hypervisor::thermo::{ClaimedWork, NATS_MAX, Outcome, Profile};
use protocol::claim::MAX_CLAIM_BYTES;
use protocol::{Claim, Verdict};
use serde_json::{Value, json};

use super::Shell;
use super::bench::fingerprint::examples;
use super::bench::power;
use super::calibrate::{self, span};
use super::check::open_claimed;
use crate::home::read_bounded;
use crate::models::RunOptions;
use crate::output::{Exit, Finished, Misuse};

/// Windows that are listed; all are in --json.
const LISTED_MAX: usize = 20;
/// Seed of the forest.
const SEED: u64 = 1;

/// Arguments of `maxwell weigh`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WeighArguments {
    /// The log of power
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// What a token costs, from `maxwell calibrate`
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// Tokens that are claimed for the load
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tokens: u64,
    /// Requests at a time
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    batch: f64,
    /// Seconds under load in the log, FROM..UNTIL from its start; found if not given
    #[arg(long, value_name = "FROM..UNTIL", value_parser = span)]
    load: Option<Range<u64>>,
    /// Seconds of a window
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=3600))]
    window: u64,
    /// Also replay this claim, and let that decide
    #[arg(long, value_name = "FILE")]
    claim: Option<PathBuf>,
    /// Also ask what the load looks like, by recorded runs below this folder
    #[arg(long, value_name = "FOLDER")]
    known: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell weigh spl.txt --profile llama2.json --tokens 13400000 --load 202..741
  maxwell weigh power.csv --profile p.json --tokens 4096 --claim long.claim
  maxwell weigh spl.txt --profile llama2.json --tokens 13400000 --known ./power --json | jq .conclusion

Each window gives a log-likelihood ratio in nats, honest over dishonest. Windows and sources of one meter share its errors,
so the mean of the windows counts, and of sources the one against the claim, or else the strongest. Exit codes: 0 or 3 as the replay of --claim says, else 4.";

/// One window.
struct Weighed {
    from_seconds: f64,
    joules: f64,
    outcome: Outcome,
    looks_like: Option<Option<Class>>,
    is_repeated: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &WeighArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let profile = energy_profile(&arguments.profile)?;
    let trace = read_log_file(&arguments.log, Limits::SERVER)?;
    let (start, end) = trace.span().context("the log has no readings")?;
    let phases = Phases::find(&trace).ok();
    let load = match &arguments.load {
        Some(load) => {
            let at = |seconds: u64| start.saturating_add(seconds.saturating_mul(SECOND_NS)).min(end);
            at(load.start)..at(load.end)
        }
        None => {
            let found =
                phases.as_ref().context("no load stands out in this log: say where it is with --load")?;
            found.from_ns..found.until_ns
        }
    };
    let window_ns = arguments.window * SECOND_NS;
    if load.end.saturating_sub(load.start) < window_ns {
        return Err(Misuse("the load is shorter than one window: use a shorter --window".to_owned()).into());
    }
    let known = arguments.known.as_deref().map(|folder| learn(folder, window_ns)).transpose()?;
    let idle_watts = phases.map_or(profile.idle_watts, |phases| phases.idle_watts);
    let windows =
        weigh(arguments, &profile, &trace, &load, idle_watts, known.as_ref().map(|(forest, _)| forest));
    let words = words(&windows, known.as_ref().map(|(_, found)| found));
    let exact = arguments.claim.as_deref().map_or(Ok(Exact::Unknown), |path| check(path, shell))?;
    let fused = fuse(exact, &words);
    let exit = match fused.conclusion {
        Conclusion::Accept | Conclusion::AcceptElsewhere => Exit::Ok,
        Conclusion::Reject => Exit::Reject,
        Conclusion::LeansFor | Conclusion::LeansAgainst | Conclusion::Undecided => Exit::Undecided,
    };
    let json = json!({
        "conclusion": format!("{:?}", fused.conclusion),
        "words": fused.conclusion.words(),
        "nats": fused.nats,
        "windows": windows.iter().map(window_json).collect::<Vec<_>>(),
        "profile": profile.key,
    });
    Ok(Finished { exit, json, text: text(&windows, fused.nats, fused.conclusion) })
}

fn energy_profile(path: &Path) -> anyhow::Result<Profile> {
    let profile = calibrate::read_profile(path)?;
    if profile.quantity != Quantity::Energy {
        return Err(Misuse(
            "this profile counts processor time: a log of power can't be weighed by it".to_owned(),
        )
        .into());
    }
    Ok(profile)
}

/// A forest of all known runs, and what it was worth on runs that it had not seen.
fn learn(folder: &Path, window_ns: u64) -> anyhow::Result<(Classifier, Evaluation)> {
    let examples = examples(&power::read(folder)?, window_ns, SEED);
    Ok((Classifier::train(&examples, SEED)?, evaluate(&examples, SEED)?))
}

fn weigh(
    arguments: &WeighArguments,
    profile: &Profile,
    trace: &PowerTrace,
    load: &Range<u64>,
    idle_watts: f64,
    forest: Option<&Classifier>,
) -> Vec<Weighed> {
    let start = trace.span().map_or(0, |(start, _)| start);
    let window_ns = arguments.window * SECOND_NS;
    let count = (load.end - load.start) / window_ns;
    let rate = arguments.tokens as f64 / (load.end - load.start) as f64;
    let mut replayed = Replayed::default();
    let repeated: Vec<u64> = trace
        .samples
        .iter()
        .filter(|sample| replayed.is_repeated(sample))
        .map(|sample| sample.at_ns)
        .collect();
    let windows = (0..count).map(|number| {
        let from = load.start + number * window_ns;
        let until = from + window_ns;
        let energy = of_samples(&trace.samples, from, until, Limits::SERVER, profile.bounds());
        let work = ClaimedWork { batch: arguments.batch, tokens: rate * window_ns as f64 };
        let features = || of_window(trace.between(from, until), from, window_ns, idle_watts);
        Weighed {
            from_seconds: (from - start) as f64 / 1e9,
            joules: energy.joules,
            outcome: profile.judge(work, &energy),
            looks_like: forest.and_then(|forest| Some(forest.judge(&features()?).class)),
            is_repeated: repeated.iter().any(|at| (from..until).contains(at)),
        }
    });
    windows.collect()
}

/// What each source says about each window. A window that was seen before says nothing for the claim.
fn words(windows: &[Weighed], found: Option<&Evaluation>) -> Vec<Word> {
    let mut words = Vec::new();
    for (number, window) in windows.iter().enumerate() {
        let mut push = |nats: f64, cap: f64| {
            let nats = if window.is_repeated { nats.min(0.0) } else { nats };
            words.push(Word { meter: "log".to_owned(), window: number as u64, nats, cap });
        };
        push(window.outcome.nats(), NATS_MAX);
        if let (Some(found), Some(Some(class))) = (found, window.looks_like) {
            let cap = found.cap_nats(class);
            push(if class == Class::LlmInference { cap } else { -cap }, cap);
        }
    }
    words
}

fn check(path: &Path, shell: &Shell) -> anyhow::Result<Exact> {
    let claim = Claim::decode(&read_bounded(path, MAX_CLAIM_BYTES)?)?;
    let Some(opened) = open_claimed(shell, &claim) else { return Ok(Exact::Unknown) };
    let engine = opened.engine(RunOptions { threads: None, kernels: None })?;
    Ok(match replay(&engine, &claim, None)? {
        Verdict::Accept => Exact::Holds,
        Verdict::Reject(_) => Exact::False,
        Verdict::Undecided(_) => Exact::Unknown,
    })
}

fn text(windows: &[Weighed], nats: f64, conclusion: Conclusion) -> String {
    let mut text = format!("{:>9} {:>12} {:>8} {:>7}  looks like\n", "from, s", "joules", "ratio", "nats");
    for window in windows.iter().take(LISTED_MAX) {
        let (ratio, says) = match &window.outcome {
            Outcome::Evidence(evidence) => {
                (format!("{:.3}", evidence.ratio), format!("{:+.2}", evidence.nats))
            }
            Outcome::Undecided(missing) => (String::new(), format!("{missing:?}")),
        };
        let looks_like = window.looks_like.map_or("", |class| class.map_or("nothing known", Class::name));
        let again = if window.is_repeated { "  seen before in this log" } else { "" };
        let (from, joules) = (window.from_seconds, window.joules);
        let _ = writeln!(text, "{from:>9.0} {joules:>12.0} {ratio:>8} {says:>7}  {looks_like}{again}");
    }
    if windows.len() > LISTED_MAX {
        let _ = writeln!(text, "and {} more", windows.len() - LISTED_MAX);
    }
    let _ = write!(text, "\ntogether {nats:+.2} nats\n{}", conclusion.words());
    text
}

fn window_json(window: &Weighed) -> Value {
    json!({
        "from_seconds": window.from_seconds,
        "joules": window.joules,
        "nats": window.outcome.nats(),
        "missing": match &window.outcome {
            Outcome::Evidence(_) => None,
            Outcome::Undecided(missing) => Some(format!("{missing:?}")),
        },
        "looks_like": window.looks_like.flatten().map(Class::name),
        "seen_before": window.is_repeated,
    })
}
