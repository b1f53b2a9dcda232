//! How much each client may ask for: token buckets for requests and for tokens, exact integers. Pure: time is an
//! argument, in milliseconds that never go back. Must never admit more than one minute's worth at once, nor tell a
//! client to come back at a time at which it would be refused again.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// A bucket counts in parts of one thing, so that each millisecond adds a whole number of them.
const PARTS: u64 = 60_000;

/// What may be asked for in a minute; what is not set has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens of prompts and answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<NonZeroU32>,
}

impl Rates {
    /// These, and the others where these say nothing.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            requests_per_minute: self.requests_per_minute.or(others.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.or(others.tokens_per_minute),
        }
    }
}

/// What there is a limit of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
}

impl Limited {
    /// The word for people and headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Later it will be: the soonest time, if nobody else uses the same key meanwhile.
    #[error(
        "this key's limit of {per_minute} {} a minute is used up; try again in {} s",
        limited.name(),
        wait_ms.div_ceil(1000)
    )]
    Wait {
        /// What is used up.
        limited: Limited,
        /// How much of it there is.
        per_minute: u32,
        /// Until there is enough of everything.
        wait_ms: u64,
    },
    /// It never will be.
    #[error(
        "the prompt and the longest answer that is asked for are {tokens} tokens; this key has {per_minute} a minute, \
         so waiting does not help: send a shorter prompt, or ask for fewer max_tokens"
    )]
    TooLarge {
        /// What the request needs.
        tokens: u32,
        /// What there ever is.
        per_minute: u32,
    },
}

/// What is left of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// In a minute.
    pub per_minute: u32,
    /// Whole ones that are left now.
    pub remaining: u32,
    /// Until all of them are there again.
    pub reset_ms: u64,
}

/// What is left of both limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Requests, if they are limited.
    pub requests: Option<Left>,
    /// Tokens, if they are limited.
    pub tokens: Option<Left>,
}

/// A bucket that holds one minute's worth.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    per_minute: NonZeroU32,
    /// In [`PARTS`].
    level: u64,
    at_ms: u64,
}

impl Bucket {
    fn full(per_minute: NonZeroU32, now_ms: u64) -> Self {
        Self { per_minute, level: parts(per_minute.get()), at_ms: now_ms }
    }

    /// The same content under another limit: a change gives nobody a fresh minute.
    fn with_limit(mut self, per_minute: NonZeroU32, now_ms: u64) -> Self {
        self.fill(now_ms);
        self.per_minute = per_minute;
        self.level = self.level.min(parts(per_minute.get()));
        self
    }

    fn fill(&mut self, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        let grown = passed_ms.saturating_mul(u64::from(self.per_minute.get()));
        self.level = self.level.saturating_add(grown).min(parts(self.per_minute.get()));
    }

    /// Until the bucket holds so many; a filled one is asked.
    fn wait_ms(&self, count: u32) -> u64 {
        let missing = parts(count).saturating_sub(self.level);
        // Rounded up: a moment before, there is not enough.
        missing.div_ceil(NonZeroU64::from(self.per_minute).get())
    }

    fn take(&mut self, count: u32) {
        self.level = self.level.saturating_sub(parts(count));
    }

    fn give_back(&mut self, count: u32) {
        self.level = self.level.saturating_add(parts(count)).min(parts(self.per_minute.get()));
    }

    fn left(&self) -> Left {
        let per_minute = self.per_minute.get();
        let remaining = u32::try_from(self.level / PARTS).unwrap_or(u32::MAX);
        Left { per_minute, remaining, reset_ms: self.wait_ms(per_minute) }
    }
}

fn parts(count: u32) -> u64 {
    // Below 2^32 * 2^16, so this never saturates.
    u64::from(count).saturating_mul(PARTS)
}

/// Both buckets of one client.
#[derive(Clone, Copy, Debug, Default)]
struct Buckets {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Buckets {
    fn fill(&mut self, now_ms: u64) {
        for bucket in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
            bucket.fill(now_ms);
        }
    }
}

/// The buckets of all clients. A client is whatever the caller tells apart.
#[derive(Clone, Debug)]
pub struct Limiter<Client> {
    clients: BTreeMap<Client, Buckets>,
}

impl<Client: Ord + Copy> Limiter<Client> {
    /// Full buckets.
    pub fn new(rates: impl IntoIterator<Item = (Client, Rates)>, now_ms: u64) -> Self {
        let mut limiter = Self { clients: BTreeMap::new() };
        limiter.set(rates, now_ms);
        limiter
    }

    /// Other clients and limits from now on. Who stays keeps what is left.
    pub fn set(&mut self, rates: impl IntoIterator<Item = (Client, Rates)>, now_ms: u64) {
        let before = std::mem::take(&mut self.clients);
        let limit = |old: Option<Bucket>, per_minute: Option<NonZeroU32>| {
            let per_minute = per_minute?;
            Some(match old {
                Some(bucket) => bucket.with_limit(per_minute, now_ms),
                None => Bucket::full(per_minute, now_ms),
            })
        };
        for (client, rates) in rates {
            let old = before.get(&client).copied().unwrap_or_default();
            let requests = limit(old.requests, rates.requests_per_minute);
            let tokens = limit(old.tokens, rates.tokens_per_minute);
            self.clients.insert(client, Buckets { requests, tokens });
        }
    }

    /// Takes one request. A request counts whatever becomes of it later, or reading bad ones would be free.
    ///
    /// # Errors
    /// [`Refused::Wait`]; nothing is taken then.
    pub fn take_request(&mut self, client: Client, now_ms: u64) -> Result<(), Refused> {
        let Some(buckets) = self.clients.get_mut(&client) else { return Ok(()) };
        buckets.fill(now_ms);
        let Some(bucket) = &mut buckets.requests else { return Ok(()) };
        let wait_ms = bucket.wait_ms(1);
        if wait_ms > 0 {
            let per_minute = bucket.per_minute.get();
            return Err(Refused::Wait { limited: Limited::Requests, per_minute, wait_ms });
        }
        bucket.take(1);
        Ok(())
    }

    /// Takes the most tokens that a request can come to: its prompt and its longest answer.
    ///
    /// # Errors
    /// [`Refused`]; nothing is taken then.
    pub fn take_tokens(&mut self, client: Client, tokens: u32, now_ms: u64) -> Result<(), Refused> {
        let Some(buckets) = self.clients.get_mut(&client) else { return Ok(()) };
        buckets.fill(now_ms);
        let Some(bucket) = &mut buckets.tokens else { return Ok(()) };
        let per_minute = bucket.per_minute.get();
        if tokens > per_minute {
            return Err(Refused::TooLarge { tokens, per_minute });
        }
        let wait_ms = bucket.wait_ms(tokens);
        if wait_ms > 0 {
            // Trying again takes a request too.
            let wait_ms = wait_ms.max(buckets.requests.map_or(0, |requests| requests.wait_ms(1)));
            return Err(Refused::Wait { limited: Limited::Tokens, per_minute, wait_ms });
        }
        bucket.take(tokens);
        Ok(())
    }

    /// Gives tokens back that were taken and not used. A client that is gone gets nothing.
    pub fn give_back(&mut self, client: Client, tokens: u32, now_ms: u64) {
        if let Some(buckets) = self.clients.get_mut(&client) {
            buckets.fill(now_ms);
            if let Some(bucket) = &mut buckets.tokens {
                bucket.give_back(tokens);
            }
        }
    }

    /// What is left.
    pub fn remaining(&mut self, client: Client, now_ms: u64) -> Remaining {
        let Some(buckets) = self.clients.get_mut(&client) else { return Remaining::default() };
        buckets.fill(now_ms);
        Remaining {
            requests: buckets.requests.as_ref().map(Bucket::left),
            tokens: buckets.tokens.as_ref().map(Bucket::left),
        }
    }
}

/// A duration as OpenAI's `x-ratelimit-reset-*` headers have it: `6m0s`, `1.5s`, `20ms`.
pub fn duration_text(ms: u64) -> String {
    let (minutes, seconds, rest) = (ms / 60_000, ms / 1000 % 60, ms % 1000);
    let minutes = if minutes > 0 { format!("{minutes}m") } else { String::new() };
    match (ms < 1000, rest) {
        (true, _) => format!("{ms}ms"),
        (false, 0) => format!("{minutes}{seconds}s"),
        (false, _) => format!("{minutes}{seconds}.{}s", format!("{rest:03}").trim_end_matches('0')),
    }
}
