//! `maxwell bench quality`: how far the integers are from a float32 pass over the same weights, and how far
//! llama.cpp is. Floats are fine here and nowhere near an inference.

use std::path::PathBuf;
use std::time::Instant;

use ::engine::Engine;
use ::engine::execute::{Chunk, Place};
use anyhow::{Context, bail};
use clap::Args;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::MODEL;
use super::limits::{Figure, Limit};
use super::oracle::{Oracles, Script};
use super::plot::plot;
use super::texts::{Sample, sample};
use crate::commands::Shell;
use crate::machine;
use crate::models::{self, RunOptions};
use crate::output::{Exit, Finished};
use crate::progress::{Count, Progress};

/// Tokens per sequence, each from position 0.
const SEQUENCE: usize = 256;
/// The promises: perplexity within 0.1%, mean KL 1e-3, top-1 98%.
const PERPLEXITY_PERCENT: f64 = 0.1;
const MEAN_KL: f64 = 1e-3;
const TOP_ONE_PERCENT: f64 = 98.0;

/// Arguments of `maxwell bench quality`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QualityArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(short, long, value_name = "MODEL", default_value = MODEL)]
    model: String,
    /// Text to measure on; licence and package texts of this machine if not given
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Positions to measure, rounded up to whole sequences of 256
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tokens: u32,
    /// Draw the mean KL at each position of a sequence to this file
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    run: RunOptions,
}

const EXAMPLES: &str = "\
Examples:
  maxwell bench quality
  maxwell bench quality --text book.txt --tokens 16384 --plot kl.svg

The reference is a float32 forward pass in numpy on the dequantized weights. KL is that from the reference to the
other, in nats; perplexity counts every token of the text but the first.";

/// What one engine says at one position.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// Nats for the next token of the text.
    loss: f64,
    /// KL(reference || this).
    kl: f64,
    /// The likeliest token is that of the reference.
    same: bool,
}

/// One engine over the whole text.
#[derive(Debug)]
pub(super) struct Series {
    name: &'static str,
    points: Vec<Point>,
    seconds: f64,
}

/// Runs the command.
pub(super) fn run(arguments: &QualityArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    if opened.model.config.context < SEQUENCE as u32 {
        bail!("the model's context is shorter than {SEQUENCE} tokens; take another model");
    }
    let sequences = (arguments.tokens as usize).div_ceil(SEQUENCE);
    // One more token, the target of the last position.
    let text = sample(&opened.model, arguments.text.as_deref(), sequences * SEQUENCE + 1)?;
    let oracles = Oracles::prepare(shell)?;
    let engine = opened.engine(arguments.run)?;
    let vocabulary = opened.model.config.vocab as usize;
    let mut reference = oracles.start(Script::FloatReference, &opened.file.path)?;
    let mut llama = oracles.start(Script::LlamaCpp, &opened.file.path)?;
    let mut series = ["float32 reference", "maxwell", "llama.cpp"].map(Series::new);
    let progress = Progress::new(shell.terminal, "measuring", Count::Steps(sequences as u64));
    for (number, ids) in text.ids.chunks_exact(SEQUENCE).enumerate() {
        let targets = text.ids.get(number * SEQUENCE + 1..).context("the text has one token more")?;
        let mut timed = |index: usize, logits: &mut dyn FnMut() -> anyhow::Result<Vec<f32>>| {
            let began = Instant::now();
            let logits = logits()?;
            series[index].seconds += began.elapsed().as_secs_f64();
            anyhow::Ok(logits)
        };
        let truth = timed(0, &mut || reference.logits(ids, vocabulary))?;
        let ours = timed(1, &mut || our_logits(&engine, ids))?;
        let theirs = timed(2, &mut || llama.logits(ids, vocabulary))?;
        for (series, logits) in series.iter_mut().zip([&truth, &ours, &theirs]) {
            series.points.extend(compare(&truth, logits, targets, vocabulary));
        }
        progress.set(number as u64 + 1);
    }
    drop(progress);
    reference.close()?;
    llama.close()?;
    if let Some(path) = &arguments.plot {
        plot(path, &series[1..], SEQUENCE)?;
    }
    let report = Report { model: opened.display_name(), text: &text, series: &series };
    Ok(Finished { exit: Exit::Ok, json: report.json(), text: report.readable() })
}

/// Logits of every position as floats: an integer with exponent e is `l * 2^-e`.
fn our_logits(engine: &Engine, ids: &[u32]) -> anyhow::Result<Vec<f32>> {
    let scale = f64::from(-engine.model().logit_exponent()).exp2();
    let mut cache = engine.new_cache();
    let mut chunks = [Chunk { cache: &mut cache, ids, logits_from: 0 }];
    let forward = engine.forward(&mut chunks, |Place { .. }, logits| {
        logits.iter().map(|logit| (*logit as f64 * scale) as f32).collect::<Vec<f32>>()
    });
    if forward.out_of_range.iter().any(Option::is_some) {
        bail!("an activation left its range on this text; quality can't be measured on it");
    }
    Ok(forward.results.concat())
}

/// Positions of one sequence, with the following tokens as targets.
fn compare(truth: &[f32], other: &[f32], targets: &[u32], vocabulary: usize) -> Vec<Point> {
    let rows = truth.par_chunks_exact(vocabulary).zip(other.par_chunks_exact(vocabulary));
    let points = rows.zip(targets.par_iter()).map(|((truth, other), target)| {
        let (p, q) = (Normalized::new(truth), Normalized::new(other));
        let kl = truth.iter().zip(other).map(|(a, b)| {
            let a = p.log_probability(*a);
            a.exp() * (a - q.log_probability(*b))
        });
        let loss = other.get(*target as usize).map_or(f64::NAN, |logit| -q.log_probability(*logit));
        Point { loss, kl: kl.sum(), same: p.best == q.best }
    });
    points.collect()
}

/// A row of logits with what its softmax needs.
struct Normalized {
    /// ln of the sum of exp.
    total: f64,
    best: usize,
}

impl Normalized {
    fn new(logits: &[f32]) -> Self {
        let mut best = 0;
        let mut max = f32::NEG_INFINITY;
        for (id, logit) in logits.iter().enumerate() {
            if *logit > max {
                (best, max) = (id, *logit);
            }
        }
        let max = f64::from(max);
        let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - max).exp()).sum();
        Self { total: max + sum.ln(), best }
    }

    fn log_probability(&self, logit: f32) -> f64 {
        f64::from(logit) - self.total
    }
}

impl Series {
    fn new(name: &'static str) -> Self {
        Self { name, points: Vec::new(), seconds: 0.0 }
    }

    /// For the legend.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Mean KL at one position of the sequences.
    pub(super) fn mean_kl_at(&self, position: usize, sequence: usize) -> f64 {
        mean(self.points.iter().skip(position).step_by(sequence).map(|point| point.kl))
    }

    fn perplexity(&self) -> f64 {
        mean(self.points.iter().map(|point| point.loss)).exp()
    }

    fn mean_kl(&self) -> f64 {
        mean(self.points.iter().map(|point| point.kl))
    }

    /// The KL that 99% of the positions stay below.
    fn p99_kl(&self) -> f64 {
        let mut all: Vec<f64> = self.points.iter().map(|point| point.kl).collect();
        all.sort_by(f64::total_cmp);
        let rank = (all.len() * 99).div_ceil(100).saturating_sub(1);
        all.get(rank).copied().unwrap_or(f64::NAN)
    }

    fn top_one_percent(&self) -> f64 {
        100.0 * mean(self.points.iter().map(|point| f64::from(u8::from(point.same))))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u32);
    for value in values {
        sum += value;
        count += 1;
    }
    sum / f64::from(count)
}

/// Everything that is printed.
struct Report<'r> {
    model: String,
    text: &'r Sample,
    series: &'r [Series; 3],
}

impl Report<'_> {
    /// How far a series' perplexity is from the reference's.
    fn delta_percent(&self, series: &Series) -> f64 {
        100.0 * (series.perplexity() / self.series[0].perplexity() - 1.0)
    }

    fn figures(&self) -> [Figure; 3] {
        let ours = &self.series[1];
        let (delta, kl, top_one) = (self.delta_percent(ours).abs(), ours.mean_kl(), ours.top_one_percent());
        [
            Figure {
                name: "perplexity against float32, percent off",
                value: delta,
                places: 4,
                limit: Limit::AtMost(PERPLEXITY_PERCENT),
            },
            Figure {
                name: "mean KL(float32 || maxwell), nats",
                value: kl,
                places: 6,
                limit: Limit::AtMost(MEAN_KL),
            },
            Figure {
                name: "same likeliest token, percent",
                value: top_one,
                places: 2,
                limit: Limit::AtLeast(TOP_ONE_PERCENT),
            },
        ]
    }

    fn json(&self) -> Value {
        let series = |series: &Series| {
            json!({
                "name": series.name,
                "perplexity": series.perplexity(),
                "perplexity_delta_percent": self.delta_percent(series),
                "mean_kl": series.mean_kl(),
                "p99_kl": series.p99_kl(),
                "top_one_percent": series.top_one_percent(),
                "seconds": series.seconds,
            })
        };
        json!({
            "bench": "quality",
            "model": self.model,
            "machine": machine::json(),
            "positions": self.series[0].points.len(),
            "sequence_tokens": SEQUENCE,
            "texts": self.text.files,
            "series": self.series.iter().map(series).collect::<Vec<_>>(),
            "figures": self.figures().iter().map(Figure::json).collect::<Vec<_>>(),
            "pass": self.figures().iter().all(Figure::passes),
        })
    }

    fn readable(&self) -> String {
        let mut lines = vec![
            format!(
                "quality of {} at {} positions, sequences of {SEQUENCE}",
                self.model,
                self.series[0].points.len()
            ),
            machine::line(),
            format!("texts: {}", self.texts()),
            String::new(),
            format!(
                "{:<18} {:>11} {:>9} {:>11} {:>11} {:>8} {:>8}",
                "", "perplexity", "off", "mean KL", "p99 KL", "top-1", "seconds"
            ),
        ];
        for series in self.series {
            lines.push(format!(
                "{:<18} {:>11.4} {:>8.3}% {:>11.2e} {:>11.2e} {:>7.2}% {:>8.1}",
                series.name,
                series.perplexity(),
                self.delta_percent(series),
                series.mean_kl(),
                series.p99_kl(),
                series.top_one_percent(),
                series.seconds,
            ));
        }
        lines.push(String::new());
        lines.extend(self.figures().iter().map(Figure::line));
        lines.join("\n")
    }

    fn texts(&self) -> String {
        let names: Vec<String> = self.text.files.iter().map(|path| path.display().to_string()).collect();
        names.join(", ")
    }
}
