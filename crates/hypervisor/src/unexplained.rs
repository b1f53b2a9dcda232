//! The ledger of joules that no claim explains: busy when nothing was claimed, or busier than the claims need. It catches
//! work beside inference; it must never count idle or what the meters can't know.

use crate::energy::{Energy, square_sum};
use crate::thermo::{ClaimedWork, Profile};

#[cfg(test)]
mod tests;

/// How far a window may be off, in its own standard deviations, without counting.
const SLACK: f64 = 1.0;

/// The most one window counts, so that one broken reading is no alarm.
const STEP_MAX: f64 = 4.0;

/// Where the sum becomes an alarm. Honest windows (t with 4 degrees) fall by more than half a deviation each on average.
const ALARM: f64 = 15.0;

/// What was booked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unexplained {
    /// Joules above idle and above all claims; can be below 0 by noise.
    pub joules: f64,
    /// One standard deviation of them; errors of scale add up, so deviations are added, not their squares.
    pub sigma: f64,
    /// Windows booked.
    pub windows: u64,
    /// Windows that said nothing.
    pub unknown: u64,
    /// One-sided cumulative sum, in standard deviations.
    pub sum: f64,
}

/// What the ledger says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Nothing that noise would not explain.
    Quiet,
    /// More was burned than was claimed.
    Unexplained,
}

impl Unexplained {
    /// Books one window: all claims of it (each with the profile of its model) against the measured energy.
    pub fn book(&mut self, idle: &Profile, claims: &[(&Profile, ClaimedWork)], measured: &Energy) -> Alarm {
        let explained = claims.iter().try_fold((0.0, 0.0), |(joules, sigma), (profile, claim)| {
            let (per_token, relative) = profile.joules_per_token(claim.batch)?;
            let expected = per_token * claim.tokens;
            Some((joules + expected, square_sum(sigma, relative * expected)))
        });
        let is_covered = measured.updates > 0 && measured.gap_share() <= crate::thermo::GAP_SHARE_MAX;
        let Some((explained, explained_sigma)) = explained.filter(|_| is_covered) else {
            self.unknown = self.unknown.saturating_add(1);
            return self.alarm();
        };
        let above = measured.above_idle(idle.idle_watts, idle.idle_sigma_watts);
        let sigma = square_sum(above.sigma, explained_sigma);
        let residual = above.joules - explained;
        if !(residual.is_finite() && sigma > 0.0 && sigma.is_finite()) {
            self.unknown = self.unknown.saturating_add(1);
            return self.alarm();
        }
        self.joules += residual;
        self.sigma += sigma;
        self.windows = self.windows.saturating_add(1);
        self.sum = (self.sum + (residual / sigma).min(STEP_MAX) - SLACK).max(0.0);
        self.alarm()
    }

    /// What the ledger says now.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        if self.sum >= ALARM { Alarm::Unexplained } else { Alarm::Quiet }
    }
}
