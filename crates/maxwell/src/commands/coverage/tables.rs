//! The tables to plan with: cheats needed, times, and what clean checks prove. Never rounds a number of answers down.

use recomputer::Error;
use recomputer::coverage::{
    Positive, Probability, Sampling, Traffic, deviating_share_bound, seconds_to, whole_cheated_needed,
};
use serde_json::{Value, json};

use super::numbers::{count, duration, share};
use crate::output::grouped;

const CONFIDENCES: [f64; 4] = [0.9, 0.99, 0.999, 0.999_999];
const CHECKED_SHARES: [f64; 5] = [1e-5, 1e-4, 1e-3, 1e-2, 5e-2];
/// Servers by their answers per second, each with shares that make sense for it.
const SERVERS: [(f64, &str, [f64; 2]); 3] = [
    (400.0, "400/s (400 H100e)", [1e-4, 1e-3]),
    (10.0, "10/s (8 GPUs)", [1e-4, 1e-3]),
    (0.2, "0.2/s (CPU demo)", [1e-2, 1e-1]),
];
const CHEATED_SHARES: [f64; 4] = [1.0, 0.1, 0.01, 0.001];
const CLEAN_CHECKS: [u64; 5] = [100, 1000, 10_000, 100_000, 1_000_000];
const BOUND_CONFIDENCES: [f64; 3] = [0.95, 0.99, 0.999];

/// All three.
#[derive(Debug)]
pub(super) struct Tables {
    power: Probability,
    confidence: Probability,
    needed: Vec<(Probability, Vec<Option<u64>>)>,
    times: Vec<Row>,
    bounds: Vec<(u64, Vec<f64>)>,
}

/// Times of one server at one eps.
#[derive(Debug)]
struct Row {
    rate: f64,
    server: &'static str,
    eps: Probability,
    seconds: Vec<f64>,
}

impl Tables {
    /// Computes them; `confidence` is that of the times.
    pub(super) fn new(power: Probability, confidence: Probability) -> Result<Self, Error> {
        let mut needed = Vec::new();
        for eps in probabilities(&CHECKED_SHARES)? {
            let sampling = Sampling { checked_share: eps, power };
            let row = probabilities(&CONFIDENCES)?.into_iter();
            needed.push((eps, row.map(|wanted| whole_cheated_needed(sampling, wanted)).collect()));
        }
        let mut times = Vec::new();
        for (rate, server, shares) in SERVERS {
            let answers_per_second = Positive::new(rate)?;
            for eps in probabilities(&shares)? {
                let sampling = Sampling { checked_share: eps, power };
                let row = probabilities(&CHEATED_SHARES)?.into_iter();
                let traffic = |cheated_share| Traffic { answers_per_second, cheated_share };
                let seconds = row.map(|cheated| seconds_to(sampling, traffic(cheated), confidence)).collect();
                times.push(Row { rate, server, eps, seconds });
            }
        }
        let mut bounds = Vec::new();
        for clean in CLEAN_CHECKS {
            let row = probabilities(&BOUND_CONFIDENCES)?.into_iter();
            let row: Result<_, Error> = row.map(|wanted| deviating_share_bound(clean, 0, wanted)).collect();
            bounds.push((clean, row?));
        }
        Ok(Self { power, confidence, needed, times, bounds })
    }

    /// Columns in the order of the text.
    pub(super) fn json(&self) -> Value {
        let needed = self.needed.iter().map(|(eps, answers)| json!({ "eps": eps.get(), "answers": answers }));
        let times = self.times.iter().map(
            |row| json!({ "answers_per_second": row.rate, "eps": row.eps.get(), "seconds": row.seconds }),
        );
        let bounds =
            self.bounds.iter().map(|(clean, max)| json!({ "clean": clean, "deviating_share_max": max }));
        json!({
            "cheated_needed": { "confidence": CONFIDENCES, "rows": needed.collect::<Vec<_>>() },
            "time": {
                "confidence": self.confidence.get(),
                "cheated_share": CHEATED_SHARES,
                "rows": times.collect::<Vec<_>>(),
            },
            "bounds": { "confidence": BOUND_CONFIDENCES, "rows": bounds.collect::<Vec<_>>() },
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let power = share(self.power);
        let mut text = format!("cheated answers until one is caught with chance P (q = {power})\n");
        text.push_str(&format!("  {:<7}", "eps"));
        for confidence in CONFIDENCES {
            text.push_str(&format!(" {:>13}", format!("P = {confidence}")));
        }
        for (eps, row) in &self.needed {
            text.push_str(&format!("\n  {:<7}", format!("{:e}", eps.get())));
            for needed in row {
                text.push_str(&format!(" {:>13}", count(*needed)));
            }
        }
        let confidence = share(self.confidence);
        text.push_str(&format!(
            "\n\ntime until a server is caught with P = {confidence} (q = {power}), by the share f of answers it cheats in\n"
        ));
        text.push_str(&format!("  {:<18} {:<7}", "answers", "eps"));
        for cheated in CHEATED_SHARES {
            text.push_str(&format!(" {:>10}", format!("f = {cheated}")));
        }
        for row in &self.times {
            text.push_str(&format!("\n  {:<18} {:<7}", row.server, format!("{:e}", row.eps.get())));
            for seconds in &row.seconds {
                text.push_str(&format!(" {:>10}", duration(*seconds)));
            }
        }
        text.push_str(
            "\n\nshare of deviating answers at most, after n exact checks without a failure (rule of three: 3.0/n, 4.6/n, \
             6.9/n)\n",
        );
        text.push_str(&format!("  {:<9}", "n"));
        for confidence in BOUND_CONFIDENCES {
            text.push_str(&format!(" {:>10}", format!("{} %", confidence * 100.0)));
        }
        for (clean, row) in &self.bounds {
            text.push_str(&format!("\n  {:<9}", grouped(*clean)));
            for max in row {
                text.push_str(&format!(" {:>10}", format!("{max:.1e}")));
            }
        }
        text
    }
}

fn probabilities(values: &[f64]) -> Result<Vec<Probability>, Error> {
    values.iter().map(|value| Probability::new(*value)).collect()
}
