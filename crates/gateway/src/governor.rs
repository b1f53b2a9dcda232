//! How much may leave: the more delivered bytes wait for a check, the slower, down to nothing. Pure: time is an
//! argument. Must never let more unverified bytes out than the policy's bound, whatever the recomputers do.
//!
//! Lag is a security figure: what leaves before its check is what a server can smuggle out before it is caught. So the
//! allowed rate is `min(cap, (bound - unverified) / tau)`. What counts are bytes of text, the only ones that a server
//! chooses. An answer that was picked is unverified until its recomputation has an outcome; one that was not, until all
//! those have one that were picked before it. So a stalled recomputer stops everything, not only what was picked, and
//! how fast answers leave does not tell which ones were.

use std::collections::BTreeMap;

/// Bytes are counted in thousandths, so that a rate per second is exact per millisecond.
const MILLI: u64 = 1000;
/// The longest wait before asking again: the backlog may have changed by then.
const WAIT_MS_MAX: u64 = 1000;
/// Bytes of text that a token is taken to have before it is there; ordinary text has about four.
const BYTES_PER_TOKEN: u64 = 8;

/// How much may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GovernorPolicy {
    /// Never more bytes per second, however little waits.
    pub cap_bytes_per_s: u64,
    /// Never more delivered bytes without a check.
    pub unverified_bytes_max: u64,
    /// The room that is left is spread over so long.
    pub tau_ms: u64,
}

impl Default for GovernorPolicy {
    /// 64 MiB, spread over the minute within which a check should be done.
    fn default() -> Self {
        Self { cap_bytes_per_s: 4 << 20, unverified_bytes_max: 64 << 20, tau_ms: 60_000 }
    }
}

impl GovernorPolicy {
    /// What an answer of at most so many tokens takes before it is there. If it turns out longer, it asks for more.
    pub fn reserve(&self, tokens: u32) -> u64 {
        let share = (self.unverified_bytes_max / 8).max(1);
        u64::from(tokens).saturating_mul(BYTES_PER_TOKEN).min(share)
    }
}

/// Whether some bytes may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Yes, and they are counted.
    Now,
    /// Not yet: ask again after so long.
    Wait {
        /// At least 1, at most a second.
        ms: u64,
    },
    /// Never: there are more than the bound.
    Never,
}

/// An answer that is being written.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    reserved: u64,
    delivered: u64,
}

/// A picked answer without an outcome, and what was delivered after it and was not picked.
#[derive(Clone, Copy, Debug)]
struct Pick {
    tag: u64,
    own: u64,
    followers: u64,
}

/// What left, and what may.
#[derive(Debug)]
pub struct Governor {
    policy: GovernorPolicy,
    open: BTreeMap<u64, Open>,
    /// Reserved by all that are open.
    open_bytes: u64,
    /// In the order in which they were recorded.
    picks: BTreeMap<u64, Pick>,
    order_of: BTreeMap<u64, u64>,
    next_order: u64,
    /// Of all picks.
    pick_bytes: u64,
    /// Thousandths of bytes that may leave now.
    saved_milli: u64,
    at_ms: u64,
    held: bool,
}

impl Governor {
    /// Nothing has left yet.
    pub fn new(policy: GovernorPolicy) -> Self {
        Self {
            policy,
            open: BTreeMap::new(),
            open_bytes: 0,
            picks: BTreeMap::new(),
            order_of: BTreeMap::new(),
            next_order: 0,
            pick_bytes: 0,
            saved_milli: policy.cap_bytes_per_s.saturating_mul(MILLI),
            at_ms: 0,
            held: false,
        }
    }

    /// What is allowed.
    pub fn policy(&self) -> GovernorPolicy {
        self.policy
    }

    /// Bytes per second that may leave now.
    pub fn rate(&self) -> u64 {
        if self.held {
            return 0;
        }
        let spread = u128::from(self.room()) * u128::from(MILLI) / u128::from(self.policy.tau_ms.max(1));
        self.policy.cap_bytes_per_s.min(u64::try_from(spread).unwrap_or(u64::MAX))
    }

    /// Delivered or reserved bytes without a check.
    pub fn unverified_bytes(&self) -> u64 {
        self.pick_bytes.saturating_add(self.open_bytes)
    }

    /// Whether nothing leaves because of [`Self::hold`].
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Nothing leaves from now on, or as the policy says again.
    pub fn hold(&mut self, now_ms: u64, held: bool) {
        self.advance(now_ms, 0);
        self.held = held;
    }

    /// Asks for an answer with so many bytes, which are reserved if they are granted.
    pub fn admit(&mut self, now_ms: u64, tag: u64, bytes: u64) -> Grant {
        let grant = self.take(now_ms, bytes);
        if grant == Grant::Now {
            self.open.entry(tag).or_default().reserved += bytes;
        }
        grant
    }

    /// Asks for bytes of an answer that leave now. What goes beyond its reservation is reserved first.
    pub fn deliver(&mut self, now_ms: u64, tag: u64, bytes: u64) -> Grant {
        if self.held {
            self.advance(now_ms, 0);
            return Grant::Wait { ms: WAIT_MS_MAX };
        }
        let Open { reserved, delivered } = self.open.get(&tag).copied().unwrap_or_default();
        let delivered = delivered.saturating_add(bytes);
        let more = delivered.saturating_sub(reserved);
        if more > 0 {
            let grant = self.take(now_ms, more);
            if grant != Grant::Now {
                return grant;
            }
        }
        self.open.insert(tag, Open { reserved: reserved.saturating_add(more), delivered });
        Grant::Now
    }

    /// The answer is over. If it was picked, what was delivered of it waits for its outcome; else for those of all
    /// earlier picks. What it did not use of its reservation is free again.
    pub fn recorded(&mut self, now_ms: u64, tag: u64, picked: bool) {
        self.advance(now_ms, 0);
        let Some(Open { reserved, delivered }) = self.open.remove(&tag) else { return };
        self.open_bytes = self.open_bytes.saturating_sub(reserved);
        let unused = reserved.saturating_sub(delivered);
        self.saved_milli = self.saved_milli.saturating_add(unused.saturating_mul(MILLI));
        if picked {
            self.inherit(tag, delivered);
        } else if let Some(mut last) = self.picks.last_entry() {
            let last = last.get_mut();
            last.followers = last.followers.saturating_add(delivered);
            self.pick_bytes = self.pick_bytes.saturating_add(delivered);
        }
    }

    /// A picked answer, which an earlier run may have delivered.
    pub fn inherit(&mut self, tag: u64, bytes: u64) {
        let order = *self.order_of.entry(tag).or_insert(self.next_order);
        self.next_order = self.next_order.max(order + 1);
        let pick = self.picks.entry(order).or_insert(Pick { tag, own: 0, followers: 0 });
        pick.own = pick.own.saturating_add(bytes);
        self.pick_bytes = self.pick_bytes.saturating_add(bytes);
    }

    /// A picked answer has its outcome.
    pub fn judged(&mut self, now_ms: u64, tag: u64) {
        // What was saved until now was saved at the old rate.
        self.advance(now_ms, 0);
        let Some(order) = self.order_of.remove(&tag) else { return };
        let Some(Pick { own, followers, .. }) = self.picks.remove(&order) else { return };
        let mut freed = own;
        match self.picks.range_mut(..order).next_back() {
            // They wait for that one too.
            Some((_, earlier)) => earlier.followers = earlier.followers.saturating_add(followers),
            None => freed = freed.saturating_add(followers),
        }
        self.pick_bytes = self.pick_bytes.saturating_sub(freed);
    }

    /// The picked answer that has waited longest.
    pub fn oldest(&self) -> Option<u64> {
        self.picks.first_key_value().map(|(_, pick)| pick.tag)
    }

    fn take(&mut self, now_ms: u64, bytes: u64) -> Grant {
        self.advance(now_ms, bytes);
        if bytes > self.policy.unverified_bytes_max {
            return Grant::Never;
        }
        let rate = self.rate();
        if rate == 0 || bytes > self.room() {
            return Grant::Wait { ms: WAIT_MS_MAX };
        }
        let needed_milli = bytes.saturating_mul(MILLI);
        if let Some(left_milli) = self.saved_milli.checked_sub(needed_milli) {
            self.saved_milli = left_milli;
            self.open_bytes = self.open_bytes.saturating_add(bytes);
            return Grant::Now;
        }
        let missing_milli = needed_milli - self.saved_milli;
        Grant::Wait { ms: missing_milli.div_ceil(rate).clamp(1, WAIT_MS_MAX) }
    }

    fn room(&self) -> u64 {
        self.policy.unverified_bytes_max.saturating_sub(self.unverified_bytes())
    }

    /// The rate was constant since the last event, since only events change the backlog. What may be saved up is one
    /// second at the cap, or what is asked for, if that is more.
    fn advance(&mut self, now_ms: u64, asked: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        let gained_milli = u128::from(self.rate()) * u128::from(elapsed_ms);
        let saved = u128::from(self.saved_milli).saturating_add(gained_milli);
        let limit = self.policy.cap_bytes_per_s.max(asked).saturating_mul(MILLI).max(self.saved_milli);
        self.saved_milli = u64::try_from(saved).unwrap_or(u64::MAX).min(limit);
    }
}

#[cfg(test)]
mod tests;
