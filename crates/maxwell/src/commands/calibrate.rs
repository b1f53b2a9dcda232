//! `maxwell calibrate`: how much energy a token of a model costs on a device, from a recorded run or from a run made now.
//! Never calls processor time energy.

mod own;

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use hypervisor::energy::{Bounds, of_samples};
use hypervisor::phases::Phases;
use hypervisor::sensors::{Limits, PowerTrace, Quantity, SECOND_NS, read_log_file};
use hypervisor::thermo::{Calibration, Profile, ProfileKey};
use serde_json::json;

use super::Shell;
use crate::home::{read_bounded, write_atomic};
use crate::output::{Exit, Finished, Misuse};

/// Longest profile.
const PROFILE_BYTES_MAX: usize = 1 << 20;

/// Arguments of `maxwell calibrate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CalibrateArguments {
    /// The model: its name in the profile; without --log it is run here
    #[arg(short, long, value_name = "MODEL")]
    model: String,
    /// A recorded log of the run
    #[arg(long, value_name = "FILE", requires = "tokens_per_second")]
    log: Option<PathBuf>,
    /// Tokens per second of the recorded run under load
    #[arg(long, value_name = "N")]
    tokens_per_second: Option<f64>,
    /// Requests at a time in the recorded run
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    batch: f64,
    /// The device, for the profile
    #[arg(long, value_name = "NAME", default_value = "this machine")]
    device: String,
    /// How many of them
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u32,
    /// The engine, for the profile
    #[arg(long, value_name = "NAME", default_value = "maxwell")]
    engine: String,
    /// Seconds of one window
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=3600))]
    window: u32,
    /// Seconds under load in the log, FROM..UNTIL from its start; found if not given
    #[arg(long, value_name = "FROM..UNTIL", value_parser = span)]
    load: Option<Range<u64>>,
    /// Requests at a time that are run here, without --log
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [1_u16, 4], value_parser = clap::value_parser!(u16).range(1..=32))]
    batches: Vec<u16>,
    /// Runs of each batch here, without --log
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=100))]
    runs: u16,
    /// Write the profile to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell calibrate -m smollm2-135m -o smollm2.profile.json
  maxwell calibrate -m llama2-70b --log spl.txt --tokens-per-second 25262 --device H200 --count 8 -o llama2.json

Without --log the model runs here, and its energy is read from this machine's meters; where there is none, its processor
time stands in for it, and the profile says so. With --log the profile is made of windows of the recorded run.";

/// Runs the command.
pub(crate) fn run(arguments: &CalibrateArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let key = ProfileKey {
        model: arguments.model.clone(),
        device: arguments.device.clone(),
        count: arguments.count,
        engine: arguments.engine.clone(),
    };
    let profile = match &arguments.log {
        Some(path) => {
            let trace = read_log_file(path, Limits::SERVER)?;
            let rate = arguments.tokens_per_second.unwrap_or(0.0);
            of_log(key, &trace, arguments, rate)?
        }
        None => own::profile(key, arguments, shell)?,
    };
    if let Some(path) = &arguments.output {
        write_atomic(path, serde_json::to_string_pretty(&profile)?.as_bytes())?;
        shell.terminal.note(format_args!("profile written to {}", path.display()));
    }
    let unit = profile.quantity.unit();
    let mut text = format!(
        "{} on {} x {} ({})\nidle {:.3} +- {:.3} {unit} per second",
        profile.key.model,
        profile.key.count,
        profile.key.device,
        profile.key.engine,
        profile.idle_watts,
        profile.idle_sigma_watts
    );
    for point in &profile.points {
        text.push_str(&format!(
            "\nbatch {:>6}: {:.6} {unit} per token above idle, +- {:.1}% over {} windows",
            point.batch,
            point.joules_per_token,
            point.relative_sigma * 100.0,
            point.windows
        ));
    }
    if profile.quantity == Quantity::CpuTime {
        text.push_str("\nno meter of energy here: this is processor time, a weak substitute");
    }
    Ok(Finished { exit: Exit::Ok, json: json!({ "profile": profile, "output": arguments.output }), text })
}

/// Windows of a recorded run's load.
fn of_log(
    key: ProfileKey,
    trace: &PowerTrace,
    arguments: &CalibrateArguments,
    tokens_per_second: f64,
) -> anyhow::Result<Profile> {
    if !(tokens_per_second.is_finite() && tokens_per_second > 0.0) {
        return Err(Misuse("tokens per second must be more than 0".to_owned()).into());
    }
    let mut phases = Phases::find(trace)?;
    if let Some(load) = &arguments.load {
        let start = trace.span().map_or(0, |(from, _)| from);
        phases.from_ns = start.saturating_add(load.start.saturating_mul(SECOND_NS));
        phases.until_ns = start.saturating_add(load.end.saturating_mul(SECOND_NS));
    }
    let window_ns = u64::from(arguments.window) * SECOND_NS;
    let most_watts =
        trace.samples.iter().filter(|s| s.quality.is_usable()).map(|s| s.watts).fold(0.0, f64::max);
    let bounds = Bounds { idle_watts: phases.idle_watts, most_watts };
    let mut windows = Vec::new();
    let mut from = phases.from_ns;
    while let Some(until) = from.checked_add(window_ns).filter(|until| *until <= phases.until_ns) {
        let energy = of_samples(&trace.samples, from, until, Limits::SERVER, bounds);
        let tokens = tokens_per_second * f64::from(arguments.window);
        windows.push(Calibration { batch: arguments.batch, tokens, energy });
        from = until;
    }
    Ok(Profile::calibrate(key, Quantity::Energy, phases.idle_watts, phases.idle_sigma_watts, &windows)?)
}

/// A profile from its file, whatever it counts.
pub(super) fn read_profile(path: &Path) -> anyhow::Result<Profile> {
    let bytes = read_bounded(path, PROFILE_BYTES_MAX)?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no profile", path.display()))
}

/// `120..3000`.
pub(super) fn span(text: &str) -> Result<Range<u64>, String> {
    let parsed =
        text.split_once("..").and_then(|(from, until)| Some(from.parse().ok()?..until.parse().ok()?));
    parsed
        .filter(|span: &Range<u64>| span.start < span.end)
        .ok_or_else(|| "write it like 120..3000, in seconds from the start of the log".to_owned())
}
