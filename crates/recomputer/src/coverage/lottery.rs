//! Lotteries that draw a fixed number of an epoch's requests, none twice. Never holds a request.

use super::{LARGEST_WHOLE, Probability, WHOLE_TOLERANCE};
use crate::Error;

/// Requests of one lottery at most: every whole number up to here is a float.
pub const MAX_REQUESTS: u64 = LARGEST_WHOLE as u64;

/// Factors that are multiplied one by one; above it Stirling's series is as good as exact.
const PRODUCT_MAX: u64 = 10_000;
/// exp(-this) is 0 beside 1 for every float.
const NATS_MAX: f64 = 800.0;

/// An epoch of requests, some of them cheated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lottery {
    requests: u64,
    cheated: u64,
}

impl Lottery {
    /// `cheated` of `requests`, which are at most [`MAX_REQUESTS`].
    pub fn new(requests: u64, cheated: u64) -> Result<Self, Error> {
        if requests > MAX_REQUESTS {
            return Err(Error::TooMany { what: "requests", count: requests, max: MAX_REQUESTS });
        }
        part("cheated", cheated, requests)?;
        Ok(Self { requests, cheated })
    }

    /// Chance that `drawn` requests hold a cheated one: `1 - C(N-k, n) / C(N, n)`, hypergeometric (section 2.3).
    pub fn detection(&self, drawn: u64) -> Result<f64, Error> {
        part("drawn", drawn, self.requests)?;
        // Not a plain minus: that would give -0 for 0.
        Ok(0.0 - self.ln_miss(drawn).exp_m1())
    }

    /// The least number of drawn requests for which [`Self::detection`] reaches `confidence`; `None` if nothing was
    /// cheated.
    pub fn draws_needed(&self, confidence: Probability) -> Option<u64> {
        if confidence.get() == 0.0 {
            return Some(0);
        }
        if self.cheated == 0 {
            return None;
        }
        // Rounding errors must not cost a draw.
        let limit = WHOLE_TOLERANCE - confidence.nats();
        let (mut too_few, mut enough) = (0, self.requests);
        while enough - too_few > 1 {
            let middle = too_few + (enough - too_few) / 2;
            if self.ln_miss(middle) <= limit {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        Some(enough)
    }

    /// ln(C(N-k, n) / C(N, n)), -infinity if a cheated one must be drawn. `drawn` is at most N.
    fn ln_miss(&self, drawn: u64) -> f64 {
        let (requests, small, large) = (self.requests, self.cheated.min(drawn), self.cheated.max(drawn));
        if small == 0 {
            return 0.0;
        }
        if large > requests - small {
            return f64::NEG_INFINITY;
        }
        let (whole, small_f, large_f) = (requests as f64, small as f64, large as f64);
        if small <= PRODUCT_MAX {
            // C(N-k, n) / C(N, n) is the product of (N - n - i) / (N - i) for i below k; k and n may be swapped.
            return (0..small).map(|i| (-large_f / (requests - i) as f64).ln_1p()).sum();
        }
        if small_f / whole * large_f > NATS_MAX {
            // No factor is above 1 - n / N.
            return -small_f / whole * large_f;
        }
        ln_miss_by_stirling(whole, small_f, large_f)
    }
}

/// ln((N-n)! (N-k)! / (N! (N-n-k)!)) by Stirling's series, its large terms cancelled on paper: with a = n/N, b = k/N
/// and z = ab / ((1-a)(1-b)) they leave k ln(1-a) + n ln(1-b) - (N-n-k + 1/2) ln(1-z). Here N > 12 max(n, k), since
/// nk / N is at most [`NATS_MAX`] and both are above [`PRODUCT_MAX`], so the series is exact to the last bits.
fn ln_miss_by_stirling(whole: f64, small: f64, large: f64) -> f64 {
    let (a, b) = (small / whole, large / whole);
    let left = whole - small - large;
    let z = a * b / ((1.0 - a) * (1.0 - b));
    let main = large * (-a).ln_1p() + small * (-b).ln_1p() - (left + 0.5) * (-z).ln_1p();
    let next = (whole - small).recip() + (whole - large).recip() - whole.recip() - left.recip();
    main + next / 12.0
}

fn part(part_name: &'static str, part: u64, whole: u64) -> Result<(), Error> {
    if part > whole {
        return Err(Error::MoreThanAll { part_name, part, whole_name: "requests", whole });
    }
    Ok(())
}
