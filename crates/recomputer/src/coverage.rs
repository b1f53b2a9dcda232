//! What a share of checked answers proves: chances, times and costs, for planning. Never part of a verdict: these are
//! floats, and a verdict comes from exact replay alone.
//!
//! Symbols, as in governance section 2.3 (attribute sampling of nuclear safeguards: a cheat is an attribute of an
//! answer, and a check sees it or not):
//!
//! | symbol | name here | unit |
//! |---|---|---|
//! | eps | [`Sampling::checked_share`] | share of answers that are checked, each drawn for itself (VRF lottery) |
//! | q | [`Sampling::power`] | chance that the check of a cheated answer shows the cheat; 1 for exact replay |
//! | f | [`Traffic::cheated_share`] | share of answers that are cheated |
//! | R | [`Traffic::answers_per_second`] | answers per second |
//! | X | `cheated` | cheated answers |
//! | P | `confidence` | chance that at least one cheat is caught |
//! | rho | `replay_share` | cost of a replay as a share of the cost of its generation, measured |
//!
//! Formulas over time hold exactly for answers that arrive as a Poisson process. For evenly spaced answers the mean
//! time is the same, and the time to a confidence is overstated by a factor of at most 1 + eps q f.

mod bound;
mod lottery;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub use self::bound::{MAX_FAILED, deviating_share_bound};
pub use self::lottery::{Lottery, MAX_REQUESTS};
use crate::Error;

/// Results this close to a whole number are that number: relative, above the rounding errors of the formulas.
const WHOLE_TOLERANCE: f64 = 1e-12;
/// Every whole number up to here is a float; counts beyond are not given as whole numbers.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A number between 0 and 1, both included.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Probability(f64);

impl Probability {
    /// Certainty.
    pub const ONE: Self = Self(1.0);

    /// Refuses what is below 0, above 1 or no number.
    pub fn new(value: f64) -> Result<Self, Error> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(Error::NotAProbability(value)) }
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// ln(1 / (1 - P)): 0 for 0, infinite for 1.
    fn nats(self) -> f64 {
        // Not a plain minus: that would give -0 for 0.
        0.0 - (-self.0).ln_1p()
    }
}

impl FromStr for Probability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(number(text)?)
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A finite number above 0: a rate, a time, a size.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Positive(f64);

impl Positive {
    /// Refuses 0, what is negative or infinite, and what is no number.
    pub fn new(value: f64) -> Result<Self, Error> {
        if value > 0.0 && value.is_finite() { Ok(Self(value)) } else { Err(Error::NotPositive(value)) }
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for Positive {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(number(text)?)
    }
}

impl fmt::Display for Positive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn number(text: &str) -> Result<f64, Error> {
    text.trim().parse().map_err(|_| Error::NotANumber(text.to_owned()))
}

/// How answers are checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// eps: the chance of an answer to be checked, independent of all others.
    pub checked_share: Probability,
    /// q: the chance that the check of a cheated answer shows it.
    pub power: Probability,
}

impl Sampling {
    /// eps q: the chance that a cheated answer is caught.
    pub fn catch(&self) -> Probability {
        Probability(self.checked_share.0 * self.power.0)
    }
}

/// What a server, or a fleet, answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// R: answers per second.
    pub answers_per_second: Positive,
    /// f: the share of them that is cheated.
    pub cheated_share: Probability,
}

/// Chance that at least one of `cheated` answers is caught: `1 - (1 - eps q)^X`, binomial (section 2.3).
pub fn detection(sampling: Sampling, cheated: u64) -> f64 {
    if cheated == 0 {
        return 0.0;
    }
    -(-(cheated as f64 * sampling.catch().nats())).exp_m1()
}

/// Cheated answers after which the chance of a catch is `confidence`, as a real number:
/// `ln(1 - P) / ln(1 - eps q)`. Infinite if no number is enough.
pub fn cheated_needed(sampling: Sampling, confidence: Probability) -> f64 {
    let catch = sampling.catch();
    if confidence.0 == 0.0 {
        0.0
    } else if catch.0 == 1.0 {
        // Sure with the first one, and with nothing less.
        1.0
    } else {
        confidence.nats() / catch.nats()
    }
}

/// The least whole number of cheated answers for which [`detection`] reaches `confidence`; `None` if there is none
/// up to 2^53.
pub fn whole_cheated_needed(sampling: Sampling, confidence: Probability) -> Option<u64> {
    let needed = cheated_needed(sampling, confidence);
    whole(needed.ceil(), needed)
}

/// Covert budget: the most cheated answers, ever, for which the risk to be caught is at most `risk`. About
/// `ln(1 / (1 - risk)) / (eps q)` (section 2.3 and finding 5), exactly `ln(1 - risk) / ln(1 - eps q)` rounded down.
/// `None` if nothing limits it up to 2^53.
pub fn covert_budget(sampling: Sampling, risk: Probability) -> Option<u64> {
    if sampling.catch().0 == 1.0 && risk.0 < 1.0 {
        return Some(0);
    }
    if sampling.catch().0 == 0.0 || risk.0 == 1.0 {
        return None;
    }
    let budget = cheated_needed(sampling, risk);
    whole(budget.floor(), budget)
}

/// `rounded`, or the whole number that `exact` misses by rounding errors only.
fn whole(rounded: f64, exact: f64) -> Option<u64> {
    let nearest = exact.round();
    let is_whole = (exact - nearest).abs() <= WHOLE_TOLERANCE * nearest;
    let chosen = if is_whole { nearest } else { rounded };
    (chosen <= LARGEST_WHOLE).then_some(chosen as u64)
}

/// eps for which the chance to catch one of `cheated` answers is `confidence`: `(1 - (1 - P)^(1/X)) / q`. `None` if
/// not even the check of every answer is enough.
pub fn share_for_cheated(confidence: Probability, power: Probability, cheated: u64) -> Option<Probability> {
    if confidence.0 == 0.0 {
        return Some(Probability(0.0));
    }
    if cheated == 0 {
        return None;
    }
    share(-(-confidence.nats() / cheated as f64).exp_m1() / power.0)
}

/// eps for which the chance of a catch within `seconds` is `confidence`: `ln(1 / (1 - P)) / (q f R T)`, the inverse of
/// [`seconds_to`]. It is never below [`share_for_cheated`] at X = f R T, and near it when small: here X itself is left
/// to chance. `None` if not even the check of every answer is enough.
pub fn share_for_time(
    confidence: Probability,
    power: Probability,
    traffic: Traffic,
    seconds: Positive,
) -> Option<Probability> {
    if confidence.0 == 0.0 {
        return Some(Probability(0.0));
    }
    let answers = traffic.answers_per_second.0 * seconds.0;
    share(confidence.nats() / (power.0 * traffic.cheated_share.0 * answers))
}

/// A share, unless it is above 1 by more than rounding errors.
fn share(value: f64) -> Option<Probability> {
    // Comparisons with a quotient 0 / 0 are false, so that it gives none.
    (value <= 1.0 + WHOLE_TOLERANCE).then_some(Probability(value.min(1.0)))
}

/// Mean time to the first catch in seconds: `1 / (eps q f R)`. Infinite if nothing is ever caught.
pub fn mean_seconds(sampling: Sampling, traffic: Traffic) -> f64 {
    catches_per_second(sampling, traffic).recip()
}

/// Time in seconds after which the chance of a catch is `confidence`: `ln(1 / (1 - P)) / (eps q f R)`. Infinite if
/// that never happens.
pub fn seconds_to(sampling: Sampling, traffic: Traffic, confidence: Probability) -> f64 {
    if confidence.0 == 0.0 { 0.0 } else { confidence.nats() / catches_per_second(sampling, traffic) }
}

fn catches_per_second(sampling: Sampling, traffic: Traffic) -> f64 {
    sampling.catch().0 * traffic.cheated_share.0 * traffic.answers_per_second.0
}

/// n_min: checks of power 1 that one server needs so that a share `cheated_share` of cheated answers is caught with
/// `confidence`: `ln(1 / delta) / f_min`, where delta = 1 - P. Infinite for a share of 0.
pub fn checks_needed(confidence: Probability, cheated_share: Probability) -> f64 {
    if confidence.0 == 0.0 { 0.0 } else { confidence.nats() / cheated_share.0 }
}

/// eps that one server needs so that cheats on it alone are caught within `seconds`:
/// `max(eps_fleet, n_min / (q R T))` with n_min = [`checks_needed`] at the smallest share that matters,
/// `server.cheated_share` (section 2.3, "Cluster size"). `None` if the server answers too little for that.
pub fn server_floor(
    fleet: Sampling,
    server: Traffic,
    confidence: Probability,
    seconds: Positive,
) -> Option<Probability> {
    let needed = share_for_time(confidence, fleet.power, server, seconds)?;
    Some(Probability(fleet.checked_share.0.max(needed.0)))
}

/// What the recomputer must have: `eps * rho * fleet`, in the unit of `fleet` (accelerators, or H100 equivalents).
/// `replay_share` is rho, the measured cost of a replay as a share of the cost of its generation.
pub fn recompute_budget(checked_share: Probability, replay_share: Positive, fleet: Positive) -> f64 {
    checked_share.0 * replay_share.0 * fleet.0
}
