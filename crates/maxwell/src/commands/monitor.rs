//! `maxwell monitor`: the meters live, or a recorded log, as lines and as a picture. Never joins samples over a gap.

mod heat;
mod live;
mod picture;

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use hypervisor::energy::{Bounds, Energy, of_samples};
use hypervisor::phases::Phases;
use hypervisor::sensors::{Limits, PowerTrace, Quality, SECOND_NS, read_log_file};
use serde_json::{Value, json};

use super::Shell;
use crate::output::{Exit, Finished};

/// Rows of a recorded trace.
const ROWS: u64 = 32;
/// Width of a bar.
const BAR: f64 = 48.0;

/// Arguments of `maxwell monitor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MonitorArguments {
    /// Show a recorded log instead: SPEC PTDaemon, MLPerf training, or comma separated with a header (nvidia-smi)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "hz", "scrape", "record", "root"])]
    replay: Option<PathBuf>,
    /// Stop after so many seconds; until Ctrl-C if not given
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,
    /// Readings per second
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    hz: u32,
    /// Read an exporter as well (dcgm-exporter, all-smi), for example 127.0.0.1:9400/metrics
    #[arg(long, value_name = "ADDRESS/PATH")]
    scrape: Option<String>,
    /// Write what is read to this file, as comma separated lines that --replay and calibrate read
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Look below FOLDER/sys and FOLDER/proc instead of at this machine
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// Degrees Celsius that must not be passed: where power and temperature are there, what is left until then is forecast
    #[arg(long, value_name = "CELSIUS", default_value_t = 83.0)]
    limit: f64,
    /// Draw power over time to this file
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell monitor
  maxwell monitor --seconds 60 --hz 10 --record node.csv --plot node.svg
  maxwell monitor --scrape 127.0.0.1:9400/metrics
  maxwell monitor --replay spl.txt --plot run.svg";

/// Runs the command.
pub(crate) fn run(arguments: &MonitorArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let Some(path) = &arguments.replay else { return live::run(arguments, shell) };
    let trace = read_log_file(path, Limits::SERVER)?;
    if let Some(plot) = &arguments.plot {
        picture::plot(plot, &trace)?;
        shell.terminal.note(format_args!("drawn to {}", plot.display()));
    }
    Ok(recorded(&trace, arguments.limit))
}

/// What a trace shows, and its summary.
fn recorded(trace: &PowerTrace, limit: f64) -> Finished {
    let (from_ns, until_ns) = trace.span().unwrap_or_default();
    let phases = Phases::find(trace).ok();
    let most = usable(trace).fold(0.0, f64::max);
    let least = usable(trace).fold(f64::INFINITY, f64::min);
    let bounds = Bounds { idle_watts: least.min(most), most_watts: most };
    let energy = of_samples(&trace.samples, from_ns, until_ns, Limits::SERVER, bounds);
    let mut text = String::new();
    let step = ((until_ns - from_ns) / ROWS).max(1);
    for row in 0..ROWS {
        let start = from_ns + row * step;
        write_row(&mut text, trace, start, start + step, from_ns, most);
    }
    let _ = write!(text, "\n{}", summary(trace, &energy, phases.as_ref()));
    let found = heat::of(trace, limit);
    if let Some(found) = &found {
        let _ = write!(text, "\n{}", heat::line(found, limit));
    }
    let json = json!({
        "source": trace.source,
        "samples": trace.samples.len(),
        "refused_lines": trace.refused_lines,
        "unusable": trace.samples.len() - usable(trace).count(),
        "seconds": energy.window_ns as f64 / SECOND_NS as f64,
        "joules": energy.joules,
        "joules_sigma": energy.sigma,
        "gap_share": energy.gap_share(),
        "least_watts": bounds.idle_watts,
        "most_watts": most,
        "load": phases.map(|phases| phases_json(&phases, from_ns)),
        "heat": found.as_ref().map(heat::json),
    });
    Finished { exit: Exit::Ok, json, text }
}

fn usable(trace: &PowerTrace) -> impl Iterator<Item = f64> {
    trace.samples.iter().filter(|sample| sample.quality.is_usable()).map(|sample| sample.watts)
}

fn write_row(text: &mut String, trace: &PowerTrace, start: u64, end: u64, from_ns: u64, most: f64) {
    let samples = trace.between(start, end);
    let good: Vec<f64> = samples.iter().filter(|s| s.quality.is_usable()).map(|s| s.watts).collect();
    let seconds = (start - from_ns) as f64 / SECOND_NS as f64;
    if good.is_empty() {
        let worst = samples.iter().map(|sample| sample.quality).max().unwrap_or(Quality::Vanished);
        let _ = writeln!(text, "{seconds:>9.1} s          -      {worst:?}");
        return;
    }
    let mean = good.iter().sum::<f64>() / good.len() as f64;
    let bar = "#".repeat((mean / most.max(f64::MIN_POSITIVE) * BAR) as usize);
    let bad = samples.len() - good.len();
    let remark = if bad > 0 { format!("  {bad} unusable") } else { String::new() };
    let _ = writeln!(text, "{seconds:>9.1} s {mean:>10.1} W  {bar}{remark}");
}

fn summary(trace: &PowerTrace, energy: &Energy, phases: Option<&Phases>) -> String {
    let seconds = energy.window_ns as f64 / SECOND_NS as f64;
    let mut text = format!(
        "{} samples over {seconds:.1} s, {} lines not understood, {:.1}% of the time without a usable reading\n{:.1} kJ +- \
         {:.1} kJ in all, {:.1} W in the mean",
        trace.samples.len(),
        trace.refused_lines,
        energy.gap_share() * 100.0,
        energy.joules / 1e3,
        energy.sigma / 1e3,
        energy.joules / seconds.max(1e-9),
    );
    let from = trace.span().map_or(0, |(from, _)| from);
    let at = |ns: u64| ns.saturating_sub(from) as f64 / SECOND_NS as f64;
    match phases {
        Some(found) => {
            let _ = write!(
                text,
                "\nidle at {:.1} +- {:.1} W, under load from {:.0} s to {:.0} s",
                found.idle_watts,
                found.idle_sigma_watts,
                at(found.from_ns),
                at(found.until_ns)
            );
        }
        None => text.push_str("\nno load found"),
    }
    text
}

fn phases_json(phases: &Phases, from_ns: u64) -> Value {
    json!({
        "idle_watts": phases.idle_watts,
        "idle_sigma_watts": phases.idle_sigma_watts,
        "from_seconds": phases.from_ns.saturating_sub(from_ns) as f64 / SECOND_NS as f64,
        "until_seconds": phases.until_ns.saturating_sub(from_ns) as f64 / SECOND_NS as f64,
    })
}
