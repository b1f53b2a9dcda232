//! A claim's energy against its profile: a log-likelihood ratio in nats, never a yes or no. A claim that the sensor is too
//! slow for is undecided, never passed.
//!
//! Honest: the energy above idle is the profile's, and the error over its standard deviation has Student's t with 4 degrees
//! of freedom: meters and loads err far more often than a normal law says. Dishonest: nothing is known but the size, so
//! t with 3 degrees of freedom around the same mean, as wide as the mean itself. The ratio is cut at [`NATS_MAX`], so
//! that energy alone never outweighs all other evidence. What it can't see: a load that burns the right energy on the
//! wrong work. That cheat saves nothing (it pays the joules it claims).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::energy::{Bounds, Energy, square_sum};
use crate::sensors::Quantity;

#[cfg(test)]
mod tests;

/// The most that one window says, in nats, either way.
pub const NATS_MAX: f64 = 6.0;

/// Fewer updates of the sensor in the claim's window say nothing.
pub const UPDATES_MIN: u64 = 10;

/// A window with more than this share uncovered says nothing.
pub const GAP_SHARE_MAX: f64 = 0.25;

/// A profile never claims to be better than this: rooms, fans and boards differ.
const RELATIVE_SIGMA_MIN: f64 = 0.02;

/// How far outside the calibrated batches a profile is still used, as a factor.
const BATCH_SLACK: f64 = 1.25;

/// What a profile is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProfileKey {
    /// The model.
    pub model: String,
    /// The device.
    pub device: String,
    /// How many of them.
    pub count: u32,
    /// The engine.
    pub engine: String,
}

/// Energy a token at one batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfilePoint {
    /// Requests at a time.
    pub batch: f64,
    /// Joules a token above idle.
    pub joules_per_token: f64,
    /// One standard deviation, relative.
    pub relative_sigma: f64,
    /// Windows it was fitted to.
    pub windows: u64,
}

/// A calibrated profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// What it is for.
    pub key: ProfileKey,
    /// What is counted: energy, or processor time where there is no meter. "Joules" and "watts" below are then
    /// seconds, and seconds per second.
    pub quantity: Quantity,
    /// Watts of the idle machine.
    pub idle_watts: f64,
    /// One standard deviation of them.
    pub idle_sigma_watts: f64,
    /// Most watts ever seen.
    pub most_watts: f64,
    /// By batch, rising.
    pub points: Vec<ProfilePoint>,
}

/// One window with known work, to calibrate from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Requests at a time.
    pub batch: f64,
    /// Tokens in the window.
    pub tokens: f64,
    /// Energy in the window, idle included.
    pub energy: Energy,
}

/// What a claim says about a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClaimedWork {
    /// Requests at a time, as the gateway counted.
    pub batch: f64,
    /// Tokens, as the gateway counted.
    pub tokens: f64,
}

/// What is missing to say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The sensor updated too seldom in the window.
    Updates {
        /// How often it did.
        had: u64,
    },
    /// Too much of the window has no reading.
    Coverage,
    /// The profile has no batch near this one.
    Batch,
    /// No tokens are claimed: the ledger of unexplained joules is for that.
    Work,
    /// The profile holds numbers that nobody measured: nothing follows from it.
    Profile,
}

/// Which way the energy is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Less than the work needs.
    TooLittle,
    /// More than the work needs.
    TooMuch,
}

/// What the energy says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Log-likelihood ratio, honest over dishonest, in nats.
    pub nats: f64,
    /// Measured over expected.
    pub ratio: f64,
    /// Which way it is off.
    pub direction: Direction,
    /// Expected joules above idle.
    pub expected: f64,
    /// Standard deviation of measured less expected.
    pub sigma: f64,
}

/// Evidence, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// What the energy says.
    Evidence(Evidence),
    /// It says nothing.
    Undecided(Missing),
}

impl Outcome {
    /// Nats; nothing known is 0.
    #[must_use]
    pub const fn nats(&self) -> f64 {
        match self {
            Self::Evidence(evidence) => evidence.nats,
            Self::Undecided(_) => 0.0,
        }
    }
}

impl Profile {
    /// Fits a profile: one point for each batch, its mean weighed by tokens, its deviation from the windows' own spread.
    pub fn calibrate(
        key: ProfileKey,
        quantity: Quantity,
        idle_watts: f64,
        idle_sigma_watts: f64,
        windows: &[Calibration],
    ) -> Result<Self, Error> {
        let mut batches: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
        let mut most_watts = 0_f64;
        for window in windows {
            let seconds = window.energy.window_ns as f64 / 1e9;
            let is_usable = window.batch >= 1.0 && window.batch < 1e9 && window.tokens > 0.0;
            if !is_usable || window.energy.updates < UPDATES_MIN || window.energy.gap_share() > GAP_SHARE_MAX
            {
                continue;
            }
            let above = window.energy.joules - idle_watts * seconds;
            most_watts = most_watts.max(window.energy.joules / seconds);
            batches.entry((window.batch * 1024.0) as u64).or_default().push((above, window.tokens));
        }
        let points: Vec<ProfilePoint> =
            batches.iter().filter_map(|(batch, windows)| point(*batch as f64 / 1024.0, windows)).collect();
        if points.is_empty() || !idle_watts.is_finite() || idle_watts < 0.0 {
            return Err(Error::TooFew("a profile"));
        }
        Ok(Self { key, quantity, idle_watts, idle_sigma_watts, most_watts, points })
    }

    /// What is known about a gap.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        Bounds { idle_watts: self.idle_watts, most_watts: self.most_watts }
    }

    /// Joules a token above idle at a batch, and their relative deviation: straight lines over the logarithm of the batch.
    #[must_use]
    pub fn joules_per_token(&self, batch: f64) -> Option<(f64, f64)> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        if !(batch >= first.batch / BATCH_SLACK && batch <= last.batch * BATCH_SLACK) {
            return None;
        }
        let after = self.points.partition_point(|point| point.batch < batch);
        let high = self.points.get(after).unwrap_or(last);
        let low = after.checked_sub(1).and_then(|index| self.points.get(index)).unwrap_or(first);
        if low.batch >= high.batch {
            return Some((low.joules_per_token, low.relative_sigma));
        }
        let part = (batch.ln() - low.batch.ln()) / (high.batch.ln() - low.batch.ln());
        let joules = low.joules_per_token + (high.joules_per_token - low.joules_per_token) * part;
        Some((joules, low.relative_sigma.max(high.relative_sigma)))
    }

    /// Measured energy, idle included, against claimed work.
    #[must_use]
    pub fn judge(&self, claim: ClaimedWork, measured: &Energy) -> Outcome {
        if measured.updates < UPDATES_MIN {
            return Outcome::Undecided(Missing::Updates { had: measured.updates });
        }
        if measured.gap_share() > GAP_SHARE_MAX || !measured.joules.is_finite() {
            return Outcome::Undecided(Missing::Coverage);
        }
        if !(claim.tokens > 0.0 && claim.tokens.is_finite()) {
            return Outcome::Undecided(Missing::Work);
        }
        let Some((per_token, relative)) = self.joules_per_token(claim.batch) else {
            return Outcome::Undecided(Missing::Batch);
        };
        let expected = per_token * claim.tokens;
        let above = measured.above_idle(self.idle_watts, self.idle_sigma_watts);
        let sigma = square_sum(above.sigma, relative * expected);
        let error = above.joules - expected;
        let is_measured = expected > 0.0 && sigma > 0.0 && (error / sigma).is_finite() && relative >= 0.0;
        if !is_measured || self.idle_watts < 0.0 {
            return Outcome::Undecided(Missing::Profile);
        }
        let wide = expected.max(3.0 * sigma);
        let nats = ln_student(error / sigma, 4.0) - sigma.ln() - (ln_student(error / wide, 3.0) - wide.ln());
        Outcome::Evidence(Evidence {
            nats: nats.clamp(-NATS_MAX, NATS_MAX),
            ratio: above.joules / expected,
            direction: if error < 0.0 { Direction::TooLittle } else { Direction::TooMuch },
            expected,
            sigma,
        })
    }
}

fn point(batch: f64, windows: &[(f64, f64)]) -> Option<ProfilePoint> {
    let (joules, tokens) = windows.iter().fold((0.0, 0.0), |(j, t), window| (j + window.0, t + window.1));
    let mean = joules / tokens;
    if !(mean > 0.0 && mean.is_finite()) {
        return None;
    }
    let spread = windows.iter().map(|(j, t)| (j / t / mean - 1.0).powi(2)).sum::<f64>();
    // Few windows know little of their own spread.
    let freedom = (windows.len() as f64 - 1.0).max(1.0);
    let few = RELATIVE_SIGMA_MIN * (1.0 + 2.0 / windows.len() as f64);
    Some(ProfilePoint {
        batch,
        joules_per_token: mean,
        relative_sigma: square_sum((spread / freedom).sqrt(), few),
        windows: windows.len() as u64,
    })
}

/// Logarithm of Student's density, for 3 and 4 degrees of freedom.
fn ln_student(x: f64, freedom: f64) -> f64 {
    // 2 / (pi * sqrt 3) and 3 / 8: the densities at 0.
    let at_zero: f64 = if freedom == 3.0 { 0.367_552_596_947_861_4 } else { 0.375 };
    at_zero.ln() - (freedom + 1.0) / 2.0 * (1.0 + x * x / freedom).ln()
}
