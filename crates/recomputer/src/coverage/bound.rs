//! How many answers may deviate at most, after checks that found few or none. Never a lower bound: it must not be used
//! to accuse.

use super::{LARGEST_WHOLE, Probability};
use crate::Error;

/// Failed checks at most; more would take seconds to compute.
pub const MAX_FAILED: u64 = 1_000_000_000;

const MAX_CHECKED: u64 = LARGEST_WHOLE as u64;
/// Terms below this share of their sum can't change it.
const NEGLIGIBLE: f64 = 1e-17;

/// The largest share of deviating answers that is compatible with `failed` of `checked` exact checks at `confidence`
/// (Clopper and Pearson, Biometrika 26, 1934, one-sided): the p with P(at most `failed` of `checked`) = 1 - confidence.
/// Without failures that is `1 - (1 - confidence)^(1/n)`, about 3.0 / n at 95 % (the rule of three) and 6.9 / n at
/// 99.9 %. 1 if nothing was checked.
///
/// The checked answers must be drawn at random.
pub fn deviating_share_bound(checked: u64, failed: u64, confidence: Probability) -> Result<f64, Error> {
    for (what, count, max) in [("checks", checked, MAX_CHECKED), ("failed checks", failed, MAX_FAILED)] {
        if count > max {
            return Err(Error::TooMany { what, count, max });
        }
    }
    if failed > checked {
        return Err(Error::MoreThanAll {
            part_name: "failed",
            part: failed,
            whole_name: "checks",
            whole: checked,
        });
    }
    if failed == checked {
        return Ok(1.0);
    }
    if failed == 0 {
        return Ok(0.0 - (-confidence.nats() / checked as f64).exp_m1());
    }
    if confidence.get() == 0.0 || confidence == Probability::ONE {
        return Ok(confidence.get());
    }
    Ok(bisect(checked as f64, failed as f64, 1.0 - confidence.get()))
}

/// The p for which the chance of at most `failed` of `checked` is `doubt`, rounded up.
fn bisect(checked: f64, failed: f64, doubt: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return high;
        }
        if at_most(checked, failed, middle) > doubt {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// Binomial tail: chance of at most `k` of `n` events of chance `p`, 0 < k < n. Sums the tail whose terms fall.
fn at_most(n: f64, k: f64, p: f64) -> f64 {
    let odds = p / (1.0 - p);
    let (mut term, mut sum, mut at) = (1.0_f64, 0.0_f64, k);
    if p >= k / n {
        while term > NEGLIGIBLE * sum && at >= 0.0 {
            sum += term;
            term *= at / ((n - at + 1.0) * odds);
            at -= 1.0;
        }
        (ln_chance(n, k, p).exp() * sum).min(1.0)
    } else {
        while at < n {
            term *= (n - at) * odds / (at + 1.0);
            at += 1.0;
            sum += term;
            if term <= NEGLIGIBLE * sum {
                break;
            }
        }
        1.0 - (ln_chance(n, k, p).exp() * sum).min(1.0)
    }
}

/// ln of the chance of exactly `k` of `n`, 0 < k < n, without the cancellation of log-gamma (Loader, "Fast and accurate
/// computation of binomial probabilities", 2000).
fn ln_chance(n: f64, k: f64, p: f64) -> f64 {
    let rest = n - k;
    stirling_error(n)
        - stirling_error(k)
        - stirling_error(rest)
        - deviance(k, n * p)
        - deviance(rest, n * (1.0 - p))
        + 0.5 * (n / (std::f64::consts::TAU * k * rest)).ln()
}

/// ln n! minus Stirling's formula for it; n is whole and above 0.
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        let factorial: f64 = (1..=n as u32).map(f64::from).product();
        return factorial.ln() - (n + 0.5) * n.ln() + n - 0.5 * std::f64::consts::TAU.ln();
    }
    let square = (n * n).recip();
    (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / n
}

/// x ln(x / mean) + mean - x, by a series where that cancels.
fn deviance(x: f64, mean: f64) -> f64 {
    let difference = x - mean;
    if difference.abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() - difference;
    }
    let ratio = difference / (x + mean);
    let mut power = 2.0 * x * ratio;
    let mut sum = difference * ratio;
    for odd in (3_u32..).step_by(2) {
        power *= ratio * ratio;
        let next = sum + power / f64::from(odd);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}
