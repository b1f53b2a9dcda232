//! How likely a number of picks is at the stated rates. Must never overstate how unlikely it is, so that an honest gateway
//! raises the alarm in at most [`ALPHA`] of its epochs.
//!
//! Picks are independent coins with a rate of each answer (Poisson's binomial). For small epochs the tail is summed up
//! exactly; for large ones it is bounded by Hoeffding, JASA 1963, theorem 1: exp(-n KL(k/n | p)) with p the mean rate,
//! which holds for coins of different rates too. Both sides count, so each gets half of alpha.

use crate::sampling::PPB;

#[cfg(test)]
mod tests;

/// An honest gateway raises the alarm in at most this share of its epochs.
pub const ALPHA: f64 = 1e-6;
/// Steps that the exact sum may take.
const EXACT_STEPS: u64 = 1 << 24;

/// How far off a number of picks is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Improbability {
    /// Expected picks.
    pub expected: f64,
    /// That an honest gateway is so far off on either side, at most.
    pub probability: f64,
}

/// Of so many picks among answers with these rates, in parts of [`PPB`].
pub fn improbability(rates_ppb: &[u64], picked: u64) -> Improbability {
    let rates: Vec<f64> = rates_ppb.iter().map(|rate| (*rate).min(PPB) as f64 / PPB as f64).collect();
    let expected: f64 = rates.iter().sum();
    let answers = rates.len() as u64;
    if picked > answers {
        return Improbability { expected, probability: 0.0 };
    }
    let is_few = (picked as f64) <= expected;
    // The rarer outcome on the same side is what is counted: picks if there are few, answers left out if there are many.
    let (rates, rare) = if is_few {
        (rates, picked)
    } else {
        (rates.iter().map(|rate| 1.0 - rate).collect(), answers - picked)
    };
    let one_side = if answers.saturating_mul(rare + 1) <= EXACT_STEPS {
        lower_tail(&rates, rare)
    } else {
        hoeffding(&rates, rare)
    };
    Improbability { expected, probability: (2.0 * one_side).min(1.0) }
}

/// P(picks <= k), summed up. All terms are positive, so nothing cancels.
fn lower_tail(rates: &[f64], k: u64) -> f64 {
    let states = usize::try_from(k).unwrap_or(usize::MAX).saturating_add(1).min(rates.len() + 1);
    let mut probabilities = vec![0.0; states];
    probabilities[0] = 1.0;
    for rate in rates {
        for state in (0..states).rev() {
            let before = if state == 0 { 0.0 } else { probabilities[state - 1] };
            probabilities[state] = probabilities[state] * (1.0 - rate) + before * rate;
        }
    }
    probabilities.iter().sum()
}

/// P(picks <= k), bounded from above for a k below the mean.
fn hoeffding(rates: &[f64], k: u64) -> f64 {
    let n = rates.len() as f64;
    let (share, mean) = (k as f64 / n, rates.iter().sum::<f64>() / n);
    if share >= mean {
        return 1.0;
    }
    let term = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a * (a / b).ln() };
    (-n * (term(share, mean) + term(1.0 - share, 1.0 - mean))).exp()
}
