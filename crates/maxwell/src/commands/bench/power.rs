//! Recorded power of real machines, by run. Never lets two meters of one run count as two runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hypervisor::fingerprint::Class;
use hypervisor::phases::Phases;
use hypervisor::sensors::{Limits, PowerTrace, read_log_file};

use crate::home::read_bounded;

/// Folder of the inference runs.
const INFERENCE: &str = "mlperf-inference-v4.1/closed/NVIDIA/results";
/// Folders of the training runs: two meters of the same runs.
const TRAINING: [&str; 2] = ["smc-ac-power", "smc-dc-power"];
/// Longest summary of a run.
const SUMMARY_BYTES_MAX: usize = 1 << 20;
/// Most entries of a folder that are looked at.
const ENTRIES_MAX: usize = 256;

/// One recorded run.
#[derive(Debug)]
pub(in crate::commands) struct Recorded {
    /// What ran.
    pub(in crate::commands) benchmark: String,
    /// Its name: the same for all meters of one run.
    pub(in crate::commands) run: String,
    /// What kind of load it was.
    pub(in crate::commands) class: Class,
    /// Its power.
    pub(in crate::commands) trace: PowerTrace,
    /// Where it is idle and where it works.
    pub(in crate::commands) phases: Phases,
    /// Tokens per second that the run reported, if it is about tokens.
    pub(in crate::commands) tokens_per_second: Option<f64>,
}

/// All runs below a folder as in `mlcommons` results.
pub(in crate::commands) fn read(data: &Path) -> anyhow::Result<Vec<Recorded>> {
    let mut runs = Vec::new();
    for machine in folders(&data.join(INFERENCE)) {
        for benchmark in folders(&machine) {
            for scenario in folders(&benchmark) {
                inference(&benchmark, &scenario, &mut runs)?;
            }
        }
    }
    for meter in TRAINING {
        for machine in folders(&data.join("mlperf-training-v4.0").join(meter).join("results")) {
            for benchmark in folders(&machine) {
                for run in folders(&benchmark.join("power")) {
                    training(&benchmark, &run, &mut runs)?;
                }
            }
        }
    }
    if runs.is_empty() {
        bail!("no recorded runs below {}: it should hold {INFERENCE}", data.display());
    }
    Ok(runs)
}

fn inference(benchmark: &Path, scenario: &Path, runs: &mut Vec<Recorded>) -> anyhow::Result<()> {
    let (name, scenario_name) = (name(benchmark), name(scenario));
    let summary = scenario.join("performance/run_1/mlperf_log_summary.txt");
    let tokens_per_second = tokens_per_second(&summary).ok().flatten();
    for run in ["ranging", "run_1"] {
        let path = scenario.join("performance").join(run).join("spl.txt");
        if !path.is_file() {
            continue;
        }
        let trace = read_log_file(&path, Limits::SERVER)?;
        let is_llm = tokens_per_second.is_some();
        runs.push(Recorded {
            phases: Phases::find(&trace)?,
            trace,
            run: format!("{name} {scenario_name} {run}"),
            class: if is_llm { Class::LlmInference } else { Class::OtherInference },
            benchmark: name.clone(),
            tokens_per_second,
        });
    }
    Ok(())
}

fn training(benchmark: &Path, run: &Path, runs: &mut Vec<Recorded>) -> anyhow::Result<()> {
    let path = run.join("node_0.txt");
    if !path.is_file() {
        return Ok(());
    }
    let trace = read_log_file(&path, Limits::SERVER)?;
    // A run without a quiet part has no level against idle: it can't be compared.
    let Ok(phases) = Phases::find(&trace) else { return Ok(()) };
    runs.push(Recorded {
        benchmark: name(benchmark),
        run: format!("{} {}", name(benchmark), name(run)),
        class: Class::Training,
        trace,
        phases,
        tokens_per_second: None,
    });
    Ok(())
}

/// `Tokens per second: 25262.1`, `Completed tokens per second : 23113.14`, with or without `(inferred)`.
fn tokens_per_second(summary: &Path) -> anyhow::Result<Option<f64>> {
    let text =
        String::from_utf8(read_bounded(summary, SUMMARY_BYTES_MAX)?).context("a summary that is no text")?;
    Ok(text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        let is_rate = key.to_ascii_lowercase().contains("tokens per second");
        if is_rate { value.trim().parse().ok() } else { None }
    }))
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.take(ENTRIES_MAX).filter_map(|entry| Some(entry.ok()?.path()));
    let mut folders: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
