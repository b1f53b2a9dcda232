//! Idle and load of a recorded trace: its quiet level, and its longest stretch of work. Never finds a load in noise.

use crate::Error;
use crate::sensors::{PowerTrace, SECOND_NS};

#[cfg(test)]
mod tests;

/// Share of all samples, the lowest, that count as idle.
const IDLE_SHARE: f64 = 0.02;
/// Fewest of them.
const IDLE_SAMPLES_MIN: usize = 8;
/// Load is at least so much above idle.
const LOAD_MIN: f64 = 1.2;
/// Dips shorter than this do not end a load.
const DIP_NS: u64 = 15 * SECOND_NS;
/// The ramp at both ends that is left out.
const RAMP_NS: u64 = 30 * SECOND_NS;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phases {
    /// Watts of the quiet machine.
    pub idle_watts: f64,
    /// One standard deviation of them, one in a hundred at least: meters and rooms differ.
    pub idle_sigma_watts: f64,
    /// Where the load is steady, from.
    pub from_ns: u64,
    /// And until.
    pub until_ns: u64,
}

impl Phases {
    /// Of a trace with both in it.
    ///
    /// # Errors
    /// [`Error::TooFew`] if there is no load, or nothing quiet.
    pub fn find(trace: &PowerTrace) -> Result<Self, Error> {
        let too_few = || Error::TooFew("idle and load");
        let usable: Vec<(u64, f64)> = trace
            .samples
            .iter()
            .filter(|sample| sample.quality.is_usable())
            .map(|sample| (sample.at_ns, sample.watts))
            .collect();
        let mut sorted: Vec<f64> = usable.iter().map(|(_, watts)| *watts).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let count = ((sorted.len() as f64 * IDLE_SHARE) as usize).max(IDLE_SAMPLES_MIN);
        let idle = sorted.get(..count).ok_or_else(too_few)?;
        let idle_watts = idle.iter().sum::<f64>() / count as f64;
        let spread = idle.iter().map(|watts| (watts - idle_watts).powi(2)).sum::<f64>() / count as f64;
        let high = sorted.get(sorted.len() * 9 / 10).copied().ok_or_else(too_few)?;
        if high < idle_watts * LOAD_MIN {
            return Err(too_few());
        }
        let (from_ns, until_ns) =
            longest(&usable, idle_watts + 0.7 * (high - idle_watts)).ok_or_else(too_few)?;
        let ramp = RAMP_NS.min((until_ns - from_ns) / 10);
        Ok(Self {
            idle_watts,
            idle_sigma_watts: spread.sqrt().max(0.01 * idle_watts),
            from_ns: from_ns + ramp,
            until_ns: until_ns - ramp,
        })
    }
}

/// The longest stretch above a threshold, over short dips.
fn longest(samples: &[(u64, f64)], threshold: f64) -> Option<(u64, u64)> {
    let mut best: Option<(u64, u64)> = None;
    let mut now: Option<(u64, u64)> = None;
    for (at_ns, _) in samples.iter().filter(|(_, watts)| *watts >= threshold) {
        now = match now {
            Some((from, last)) if at_ns.saturating_sub(last) <= DIP_NS => Some((from, *at_ns)),
            Some(_) | None => Some((*at_ns, *at_ns)),
        };
        let length = |stretch: Option<(u64, u64)>| stretch.map_or(0, |(from, until)| until - from);
        if length(now) > length(best) {
            best = now;
        }
    }
    best
}
