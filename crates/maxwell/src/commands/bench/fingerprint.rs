//! `maxwell bench fingerprint`: what a minute of power says about the load, on recorded runs, each judged by a classifier
//! that never saw it. Says what shaping does to it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use hypervisor::features::of_window;
use hypervisor::fingerprint::{Class, Classifier, Curve, Evaluation, Example, evaluate, interval};
use hypervisor::sensors::{PowerSample, Quality, SECOND_NS};
use model::synthetic::SplitMix64;
use plotters::prelude::*;
use serde_json::json;

use super::power::{self, Recorded};
use crate::commands::Shell;
use crate::home::write_atomic;
use crate::output::{Exit, Finished};

/// Synthetic runs of constant load, and their windows.
const SYNTHETIC_RUNS: u64 = 6;
const SYNTHETIC_WINDOWS: u64 = 20;

/// Arguments of `maxwell bench fingerprint`.
#[derive(Debug, Args)]
pub(crate) struct FingerprintArguments {
    /// Folder with recorded runs (mlperf-inference-v4.1 and mlperf-training-v4.0 below it)
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// Seconds of a window
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(45..=600))]
    window: u64,
    /// Seed of the forest and of the synthetic runs
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Draw the ROC curves to this file
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
}

/// Runs the bench.
pub(crate) fn run(arguments: &FingerprintArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let runs = power::read(&arguments.data)?;
    let window_ns = arguments.window * SECOND_NS;
    let examples = examples(&runs, window_ns, arguments.seed);
    let found = evaluate(&examples, arguments.seed)?;
    let inference = [Class::LlmInference, Class::OtherInference];
    let curves = [
        ("training against inference", found.curve(Class::Training, &inference)),
        ("llm against other inference", found.curve(Class::LlmInference, &[Class::OtherInference])),
        ("constant against inference", found.curve(Class::ConstantLoad, &inference)),
    ];
    let shaped = shaped(&runs, &examples, window_ns, arguments.seed)?;
    let mut text = format!(
        "{} windows of {} s from {} runs, each run left out once; seed {}\n\n{}",
        examples.len(),
        arguments.window,
        found.runs,
        arguments.seed,
        table(&found)
    );
    let classes = Class::ALL.len() as f64;
    let _ = write!(
        text,
        "\nmean of the classes' hit rates {:.3}, chance {:.3}\n",
        found.balanced_accuracy(),
        1.0 / classes
    );
    for (name, curve) in &curves {
        let _ = writeln!(text, "area under the ROC, {name}: {:.3}", curve.area);
    }
    for class in Class::ALL {
        let _ = writeln!(text, "most that \"{}\" may count: {:.2} nats", class.name(), found.cap_nats(class));
    }
    for shape in &shaped {
        let _ = write!(text, "\n{}", shape.line());
    }
    if let Some(path) = &arguments.plot {
        plot(path, &curves)?;
        shell.terminal.note(format_args!("drawn to {}", path.display()));
    }
    let json = json!({
        "windows": examples.len(), "runs": found.runs, "seed": arguments.seed,
        "classes": Class::ALL.map(Class::name), "confusion": found.confusion,
        "balanced_accuracy": found.balanced_accuracy(), "chance": 1.0 / classes,
        "areas": curves.iter().map(|(name, curve)| json!({"name": name, "area": curve.area})).collect::<Vec<_>>(),
        "cap_nats": Class::ALL.map(|class| found.cap_nats(class)),
        "shaped": shaped.iter().map(|shape| json!({
            "name": shape.name, "windows": shape.windows, "still_seen": shape.seen, "more_energy": shape.more_energy,
        })).collect::<Vec<_>>(),
    });
    Ok(Finished { exit: Exit::Ok, json, text })
}

/// Windows of all runs, idle ones among them, and the synthetic ones.
pub(in crate::commands) fn examples(runs: &[Recorded], window_ns: u64, seed: u64) -> Vec<Example> {
    let mut examples = Vec::new();
    for run in runs {
        let (start, end) = run.trace.span().unwrap_or_default();
        let mut push = |class, from: u64| {
            let samples = run.trace.between(from, from + window_ns);
            if let Some(features) = of_window(samples, from, window_ns, run.phases.idle_watts) {
                examples.push(Example { class, run: run.run.clone(), features });
            }
        };
        let count = |from: u64, until: u64| until.saturating_sub(from) / window_ns;
        (0..count(run.phases.from_ns, run.phases.until_ns))
            .for_each(|at| push(run.class, run.phases.from_ns + at * window_ns));
        // Idle is what lies well in front of and behind the load, if it is quiet all along.
        let ramp = 60 * SECOND_NS;
        for (from, until) in
            [(start, run.phases.from_ns.saturating_sub(ramp)), (run.phases.until_ns + ramp, end)]
        {
            for at in 0..count(from, until) {
                let from = from + at * window_ns;
                let samples = run.trace.between(from, from + window_ns);
                if samples.iter().all(|sample| sample.watts < 1.1 * run.phases.idle_watts) {
                    push(Class::Idle, from);
                }
            }
        }
    }
    let mut random = SplitMix64::new(seed);
    for run in 0..SYNTHETIC_RUNS {
        let level = 1.6 + unit(random.next_u64()) * 1.2;
        for _ in 0..SYNTHETIC_WINDOWS {
            let samples = constant(level * 1000.0, window_ns, &mut random);
            if let Some(features) = of_window(&samples, 0, window_ns, 1000.0) {
                examples.push(Example {
                    class: Class::ConstantLoad,
                    run: format!("synthetic {run}"),
                    features,
                });
            }
        }
    }
    examples
}

/// Constant power with a meter's noise of two in a thousand.
fn constant(watts: f64, window_ns: u64, random: &mut SplitMix64) -> Vec<PowerSample> {
    (0..window_ns / SECOND_NS)
        .map(|second| PowerSample {
            at_ns: second * SECOND_NS,
            watts: watts * (1.0 + 0.004 * (unit(random.next_u64()) - 0.5)),
            celsius: None,
            quality: Quality::Good,
        })
        .collect()
}

/// What a training run looks like when it is shaped, and what that costs.
struct Shaped {
    name: &'static str,
    windows: u32,
    seen: u32,
    more_energy: f64,
}

impl Shaped {
    fn line(&self) -> String {
        let (least, most) = interval(self.seen, self.windows);
        format!(
            "training, {}: still seen as training in {} of {} windows ({:.0}-{:.0}%), {:+.1}% energy",
            self.name,
            self.seen,
            self.windows,
            least * 100.0,
            most * 100.0,
            self.more_energy * 100.0
        )
    }
}

/// Fills power up to a level.
type Shape = fn(f64, f64) -> f64;

fn shaped(runs: &[Recorded], examples: &[Example], window_ns: u64, seed: u64) -> anyhow::Result<Vec<Shaped>> {
    let shapes: [(&'static str, Shape); 3] = [
        ("as it is", |watts, _| watts),
        ("filled up to its mean", |watts, mean| watts.max(mean)),
        ("filled up to its most", |_, mean| mean * 1.25),
    ];
    let mut results = Vec::new();
    for (name, shape) in shapes {
        let mut result = Shaped { name, windows: 0, seen: 0, more_energy: 0.0 };
        let (mut before, mut after) = (0.0, 0.0);
        for run in runs.iter().filter(|run| run.class == Class::Training) {
            let others: Vec<Example> =
                examples.iter().filter(|example| example.run != run.run).cloned().collect();
            let classifier = Classifier::train(&others, seed)?;
            for at in 0..(run.phases.until_ns - run.phases.from_ns) / window_ns {
                let from = run.phases.from_ns + at * window_ns;
                let samples = run.trace.between(from, from + window_ns);
                let mean = samples.iter().map(|s| s.watts).sum::<f64>() / samples.len().max(1) as f64;
                let changed: Vec<PowerSample> =
                    samples.iter().map(|s| PowerSample { watts: shape(s.watts, mean), ..*s }).collect();
                before += samples.iter().map(|s| s.watts).sum::<f64>();
                after += changed.iter().map(|s| s.watts).sum::<f64>();
                if let Some(features) = of_window(&changed, from, window_ns, run.phases.idle_watts) {
                    result.windows += 1;
                    result.seen += u32::from(classifier.judge(&features).class == Some(Class::Training));
                }
            }
        }
        result.more_energy = after / f64::max(before, 1.0) - 1.0;
        results.push(result);
    }
    Ok(results)
}

fn table(found: &Evaluation) -> String {
    let mut text = format!("{:<22}", "is \\ taken for");
    for class in Class::ALL {
        let _ = write!(text, " {:>10.10}", class.name());
    }
    let _ = write!(text, " {:>10}  hit rate, 95%", "none");
    for (class, row) in Class::ALL.into_iter().zip(found.confusion) {
        let _ = write!(text, "\n{:<22}", class.name());
        row.iter().for_each(|count| {
            let _ = write!(text, " {count:>10}");
        });
        let hits = row.get(class as usize).copied().unwrap_or(0);
        let (least, most) = interval(hits, row.iter().sum());
        let _ = write!(text, "  {:.2}-{:.2}", least, most);
    }
    text.push('\n');
    text
}

fn plot(path: &Path, curves: &[(&str, Curve)]) -> anyhow::Result<()> {
    let mut picture = String::new();
    draw(&mut picture, curves).map_err(|error| anyhow!("can't draw the plot: {error}"))?;
    write_atomic(path, picture.as_bytes()).context("can't write the plot")
}

fn draw(picture: &mut String, curves: &[(&str, Curve)]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(picture, (640, 560)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("ROC on runs that were not seen", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart.configure_mesh().x_desc("false positives").y_desc("true positives").draw()?;
    let colours = [RGBColor(31, 90, 160), RGBColor(200, 90, 20), RGBColor(30, 130, 70)];
    for ((name, curve), colour) in curves.iter().zip(colours) {
        chart
            .draw_series(LineSeries::new(curve.points.clone(), &colour))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}

/// 0 to 1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}
