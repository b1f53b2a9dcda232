//! From the raw values of an energy counter to energy. Pure: time is an argument. Never counts energy that the counter does
//! not show, and never a reset as energy.

#[cfg(test)]
mod tests;

/// What is known of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The counter starts again at 0 behind this value; `None` if it never does.
    pub range_uj: Option<u64>,
    /// More than this the device can't draw, in microwatts.
    pub most_uw: u64,
    /// A device that is on never draws nothing for longer than this, in microseconds.
    pub frozen_after_us: u64,
}

/// What a step of the counter is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// The first value: there is nothing to compare it with.
    First,
    /// A plain difference.
    Good,
    /// The counter began again at 0 within its range, and the sum is plausible.
    Wrapped,
    /// It is lower than before and no wrap explains it: what was drawn meanwhile is unknown.
    Reset,
    /// More than the device can draw: a jump, not energy.
    Implausible,
    /// The value has not moved for too long: it is not measuring.
    Frozen,
    /// Time did not go forward.
    Clock,
}

/// What happened between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Energy that is certain, in microjoules; 0 where there is none.
    pub energy_uj: u64,
    /// Of how long, in microseconds.
    pub window_us: u64,
    /// How far to believe it.
    pub quality: Quality,
}

/// A counter over time, and what it has shown.
#[derive(Clone, Debug)]
pub struct Counter {
    limits: Limits,
    last: Option<(u64, u64)>,
    /// Since when the value has been the same.
    same_since_us: u64,
    energy_uj: u64,
    /// Time of which the energy is unknown.
    gap_us: u64,
}

impl Counter {
    /// Before the first value.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, last: None, same_since_us: 0, energy_uj: 0, gap_us: 0 }
    }

    /// The next value, at a monotonic time.
    pub fn observe(&mut self, at_us: u64, value_uj: u64) -> Step {
        let Some((before_us, before_uj)) = self.last else {
            (self.last, self.same_since_us) = (Some((at_us, value_uj)), at_us);
            return Step { energy_uj: 0, window_us: 0, quality: Quality::First };
        };
        let Some(window_us) = at_us.checked_sub(before_us).filter(|window| *window > 0) else {
            // The value that came first stays: another one at the same time shows nothing.
            return Step { energy_uj: 0, window_us: 0, quality: Quality::Clock };
        };
        if value_uj != before_uj {
            self.same_since_us = at_us;
        }
        let (energy_uj, quality) = self.judge(window_us, before_uj, value_uj, at_us);
        self.last = Some((at_us, value_uj));
        self.energy_uj = self.energy_uj.saturating_add(energy_uj);
        if !matches!(quality, Quality::Good | Quality::Wrapped) {
            self.gap_us = self.gap_us.saturating_add(window_us);
        }
        Step { energy_uj, window_us, quality }
    }

    fn judge(&self, window_us: u64, before_uj: u64, value_uj: u64, at_us: u64) -> (u64, Quality) {
        let most_uj = u128::from(self.limits.most_uw) * u128::from(window_us) / 1_000_000;
        let is_plausible = |energy: u64| u128::from(energy) <= most_uj;
        match value_uj.checked_sub(before_uj) {
            Some(0) if at_us.saturating_sub(self.same_since_us) > self.limits.frozen_after_us => {
                (0, Quality::Frozen)
            }
            Some(energy) if is_plausible(energy) => (energy, Quality::Good),
            Some(_) => (0, Quality::Implausible),
            None => {
                let left = self.limits.range_uj.and_then(|range| range.checked_sub(before_uj));
                let wrapped = left.and_then(|left| left.checked_add(value_uj));
                match wrapped.filter(|energy| is_plausible(*energy)) {
                    Some(energy) => (energy, Quality::Wrapped),
                    None => (0, Quality::Reset),
                }
            }
        }
    }

    /// The counter has vanished: what comes next is a first value again, and the time between is unknown.
    pub fn vanish(&mut self, at_us: u64) {
        if let Some((before_us, _)) = self.last.take() {
            self.gap_us = self.gap_us.saturating_add(at_us.saturating_sub(before_us));
        }
    }

    /// Energy that was certainly drawn, in microjoules.
    #[must_use]
    pub fn energy_uj(&self) -> u64 {
        self.energy_uj
    }

    /// Time of which the energy is unknown, in microseconds: with what the device can draw at most it bounds what is missing.
    #[must_use]
    pub fn gap_us(&self) -> u64 {
        self.gap_us
    }
}
