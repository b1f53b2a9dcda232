//! Joules over a window, from power samples or from a counter. What is not known is carried as uncertainty; a gap must
//! never be filled in as if it had been measured.

use crate::sensors::{Limits, PowerSample, SECOND_NS, Step};

#[cfg(test)]
mod tests;

/// Joules over a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Energy {
    /// The estimate.
    pub joules: f64,
    /// One standard deviation of it.
    pub sigma: f64,
    /// The window.
    pub window_ns: u64,
    /// How much of the window no usable reading covers.
    pub gap_ns: u64,
    /// Readings that say something.
    pub updates: u64,
}

/// What a device draws at least and at most: all that is known about a gap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Watts when idle.
    pub idle_watts: f64,
    /// Watts at most.
    pub most_watts: f64,
}

impl Energy {
    /// Share of the window that no reading covers.
    #[must_use]
    pub fn gap_share(&self) -> f64 {
        if self.window_ns == 0 { 1.0 } else { self.gap_ns as f64 / self.window_ns as f64 }
    }

    /// Less what an idle machine would have used; `sigma` of the idle level goes with it.
    #[must_use]
    pub fn above_idle(self, idle_watts: f64, idle_sigma_watts: f64) -> Self {
        let seconds = self.window_ns as f64 / SECOND_NS as f64;
        let sigma = square_sum(self.sigma, idle_sigma_watts * seconds);
        Self { joules: self.joules - idle_watts * seconds, sigma, ..self }
    }
}

/// From samples, by the trapezoid rule between usable neighbours not further apart than three updates of the sensor.
/// Samples in front of and behind the window are used at its edges if they are given.
#[must_use]
pub fn of_samples(
    samples: &[PowerSample],
    from_ns: u64,
    until_ns: u64,
    limits: Limits,
    bounds: Bounds,
) -> Energy {
    let window_ns = until_ns.saturating_sub(from_ns);
    let apart_max = limits.update_ns.saturating_mul(3);
    let usable = samples.iter().filter(|sample| sample.quality.is_usable());
    let (mut joules, mut covered, mut updates) = (0.0, 0_u64, 0_u64);
    let mut before: Option<&PowerSample> = None;
    for sample in usable {
        updates += u64::from((from_ns..until_ns).contains(&sample.at_ns));
        if let Some(before) = before.filter(|before| sample.at_ns.saturating_sub(before.at_ns) <= apart_max) {
            let (start, end) = (before.at_ns.max(from_ns), sample.at_ns.min(until_ns));
            if start < end {
                joules += (watts_at(before, sample, start) + watts_at(before, sample, end)) / 2.0
                    * seconds(end - start);
                covered = covered.saturating_add(end - start);
            }
        }
        before = Some(sample);
    }
    finish(joules, covered, window_ns, updates, limits, bounds)
}

/// From the steps of a counter; a step partly inside counts by the part of its time.
#[must_use]
pub fn of_steps(steps: &[Step], from_ns: u64, until_ns: u64, limits: Limits, bounds: Bounds) -> Energy {
    let window_ns = until_ns.saturating_sub(from_ns);
    let (mut joules, mut covered, mut updates) = (0.0, 0_u64, 0_u64);
    for step in steps {
        let (start, end) = (step.from_ns.max(from_ns), step.until_ns.min(until_ns));
        let Some(used) = step.joules.filter(|_| step.quality.is_usable() && start < end) else { continue };
        joules += used * seconds(end - start) / seconds(step.until_ns - step.from_ns);
        covered = covered.saturating_add(end - start);
        updates += u64::from(used > 0.0);
    }
    finish(joules, covered, window_ns, updates, limits, bounds)
}

fn finish(joules: f64, covered: u64, window_ns: u64, updates: u64, limits: Limits, bounds: Bounds) -> Energy {
    let gap_ns = window_ns.saturating_sub(covered);
    // In a gap anything between idle and the most is alike: mean in the middle, deviation of an even distribution.
    let gap_seconds = seconds(gap_ns);
    let span = (bounds.most_watts - bounds.idle_watts).max(0.0);
    let gap_sigma = span * gap_seconds / 12_f64.sqrt();
    // A meter's error is mostly one of scale, the same in all samples, so it does not average out.
    let sigma = square_sum(limits.relative_sigma * joules, gap_sigma);
    let joules = joules + (bounds.idle_watts + span / 2.0) * gap_seconds;
    Energy { joules, sigma, window_ns, gap_ns, updates }
}

fn watts_at(before: &PowerSample, after: &PowerSample, at_ns: u64) -> f64 {
    let whole = after.at_ns.saturating_sub(before.at_ns);
    if whole == 0 {
        return after.watts;
    }
    let part = at_ns.saturating_sub(before.at_ns) as f64 / whole as f64;
    before.watts + (after.watts - before.watts) * part
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / SECOND_NS as f64
}

pub(crate) fn square_sum(a: f64, b: f64) -> f64 {
    (a * a + b * b).sqrt()
}
