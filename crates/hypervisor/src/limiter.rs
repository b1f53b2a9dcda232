//! When processes have to rest so that they get no more than a share of a processor, where no control group says so. Pure:
//! the time that they used is an argument.

#[cfg(test)]
mod tests;

/// What may be saved up, in seconds: a burst after a pause.
const SAVED_MAX: f64 = 0.05;
/// What may be owed, in seconds: what was used before the limit came is not held against anybody for long.
const OWED_MAX: f64 = 2.0;

/// Keeps one agent to its share.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limiter {
    limit_milli: Option<u64>,
    last: Option<(u64, f64)>,
    left: f64,
}

impl Limiter {
    /// From now on so many thousandths of a processor, or no limit.
    pub const fn limit(&mut self, milli: Option<u64>) {
        self.limit_milli = milli;
        self.left = 0.0;
    }

    /// Whether there is one.
    #[must_use]
    pub const fn has_limit(&self) -> bool {
        self.limit_milli.is_some()
    }

    /// Whether the processes have to rest from now on, when they have used so many seconds until now.
    pub fn must_rest(&mut self, now_ns: u64, used_seconds: f64) -> bool {
        let before = self.last.replace((now_ns, used_seconds));
        let (Some(milli), Some((before_ns, before_seconds))) = (self.limit_milli, before) else {
            return false;
        };
        let earned = now_ns.saturating_sub(before_ns) as f64 / 1e9 * milli as f64 / 1e3;
        let used = (used_seconds - before_seconds).max(0.0);
        self.left = (self.left + earned - used).clamp(-OWED_MAX, SAVED_MAX);
        self.left < 0.0
    }
}
