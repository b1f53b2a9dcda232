//! How fast answers may leave: the more delivered bytes wait for a check, the slower, down to nothing. Pure: time is an
//! argument. Must never let more unchecked bytes out than the policy's bound, whatever the recomputers do.
//!
//! Lag is a security figure: what leaves before its check is what a server can smuggle out before it is caught. So
//! the allowed rate is `min(cap, (bound - unchecked) / tau)`. Bytes of an answer are unchecked from their delivery until
//! the answer turns out not to be picked, or its recomputation has an outcome.

use std::collections::BTreeMap;

/// Bytes are counted in thousandths, so that a rate per second is exact per millisecond.
const MILLI: u64 = 1000;
/// The longest wait before asking again: the backlog may have changed by then.
const WAIT_MS_MAX: u64 = 1000;

/// How much may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GovernorPolicy {
    /// Never more bytes per second, however little waits.
    pub cap_bytes_per_s: u64,
    /// Never more delivered bytes without a check.
    pub unchecked_bytes_max: u64,
    /// The room that is left is spread over so long.
    pub tau_ms: u64,
}

impl GovernorPolicy {
    /// No bound at all: everything may leave at once.
    pub const UNLIMITED: Self =
        Self { cap_bytes_per_s: u64::MAX, unchecked_bytes_max: u64::MAX, tau_ms: 1 };
}

/// Whether some bytes may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Yes, and they are counted as delivered.
    Now,
    /// Not yet: ask again after so long, or when something was checked.
    Wait {
        /// At least 1, at most a second.
        ms: u64,
    },
    /// Never: there are more than the bound.
    Never,
}

/// What left, and what may.
#[derive(Debug)]
pub struct Governor {
    policy: GovernorPolicy,
    /// Delivered and unchecked bytes of each answer.
    unchecked: BTreeMap<u64, u64>,
    unchecked_bytes: u64,
    /// Thousandths of bytes that may leave now.
    saved_milli: u64,
    at_ms: u64,
    held: bool,
}

impl Governor {
    /// Nothing has left yet.
    pub fn new(policy: GovernorPolicy) -> Self {
        let mut governor = Self {
            policy,
            unchecked: BTreeMap::new(),
            unchecked_bytes: 0,
            saved_milli: 0,
            at_ms: 0,
            held: false,
        };
        governor.saved_milli = governor.burst_milli(0);
        governor
    }

    /// Bytes per second that may leave now.
    pub fn rate(&self) -> u64 {
        if self.held {
            return 0;
        }
        let spread = u128::from(self.room()) * u128::from(MILLI) / u128::from(self.policy.tau_ms.max(1));
        self.policy.cap_bytes_per_s.min(u64::try_from(spread).unwrap_or(u64::MAX))
    }

    /// Delivered bytes without a check.
    pub fn unchecked_bytes(&self) -> u64 {
        self.unchecked_bytes
    }

    /// Whether anything may leave at all, so that it makes sense to take a request.
    pub fn is_open(&self) -> bool {
        self.rate() > 0
    }

    /// Nothing leaves from now on, or as the policy says again.
    pub fn hold(&mut self, now_ms: u64, held: bool) {
        self.advance(now_ms, 0);
        self.held = held;
    }

    /// Asks for so many bytes of an answer, which leave if they are granted.
    pub fn grant(&mut self, now_ms: u64, tag: u64, bytes: u64) -> Grant {
        self.advance(now_ms, bytes);
        if bytes > self.policy.unchecked_bytes_max {
            return Grant::Never;
        }
        let rate = self.rate();
        if rate == 0 || bytes > self.room() {
            return Grant::Wait { ms: WAIT_MS_MAX };
        }
        let needed_milli = bytes.saturating_mul(MILLI);
        if let Some(left_milli) = self.saved_milli.checked_sub(needed_milli) {
            self.saved_milli = left_milli;
            self.add(tag, bytes);
            return Grant::Now;
        }
        let missing_milli = needed_milli - self.saved_milli;
        Grant::Wait { ms: missing_milli.div_ceil(rate).clamp(1, WAIT_MS_MAX) }
    }

    /// What an earlier run delivered and nobody checked.
    pub fn inherit(&mut self, tag: u64, bytes: u64) {
        self.add(tag, bytes);
    }

    /// The answer is recorded. If it was not picked, or if it has its outcome, nothing of it waits any more.
    pub fn checked(&mut self, now_ms: u64, tag: u64) {
        // What was saved until now was saved at the old rate.
        self.advance(now_ms, 0);
        if let Some(bytes) = self.unchecked.remove(&tag) {
            self.unchecked_bytes = self.unchecked_bytes.saturating_sub(bytes);
        }
    }

    fn add(&mut self, tag: u64, bytes: u64) {
        let of_tag = self.unchecked.entry(tag).or_insert(0);
        *of_tag = of_tag.saturating_add(bytes);
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(bytes);
    }

    fn room(&self) -> u64 {
        self.policy.unchecked_bytes_max.saturating_sub(self.unchecked_bytes)
    }

    /// What may be saved up: one second at the cap, or what is asked for, if that is more.
    fn burst_milli(&self, asked: u64) -> u64 {
        self.policy.cap_bytes_per_s.max(asked).saturating_mul(MILLI)
    }

    /// The rate was constant since the last event, since only events change the backlog.
    fn advance(&mut self, now_ms: u64, asked: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        let gained_milli = u128::from(self.rate()) * u128::from(elapsed_ms);
        let saved = u128::from(self.saved_milli).saturating_add(gained_milli);
        let limit = self.burst_milli(asked).max(self.saved_milli);
        self.saved_milli = u64::try_from(saved).unwrap_or(u64::MAX).min(limit);
    }
}

#[cfg(test)]
mod tests;
