//! Who may ask, how much, and how slowly: the shell around [`crate::limits`] with its clock and lock, and rules that can
//! be changed while requests run. Must never let a change give anybody a fresh minute.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, header};
use tokio::time::Instant;

use crate::api_keys::{ApiKeys, KeyDigest};
use crate::body::{ALL_BODIES_BYTES, BodyRoom};
use crate::limits::{Limiter, Rates, Refused, Remaining};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Client {
    /// Somebody, where no keys are asked for.
    Anybody,
    /// The holder of a key.
    Key(KeyDigest),
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the connection, or the end of the last answer, to the end of a request's head.
    pub head: Duration,
    /// From one piece of a body to the next.
    pub body_idle: Duration,
    /// For the whole body.
    pub body_total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            body_idle: Duration::from_secs(10),
            body_total: Duration::from_secs(120),
        }
    }
}

/// What can be changed at run time.
#[derive(Clone, Debug, Default)]
pub struct AccessRules {
    /// Who may ask; without it, everybody.
    pub keys: Option<ApiKeys>,
    /// For keys without limits of their own, and for everybody where there are no keys.
    pub rates: Rates,
    /// How long clients may take.
    pub timeouts: Timeouts,
}

impl AccessRules {
    fn clients(&self) -> Vec<(Client, Rates)> {
        let Some(keys) = &self.keys else { return vec![(Client::Anybody, self.rates)] };
        let accepted = keys.all().iter().filter(|key| !key.revoked);
        accepted.map(|key| (Client::Key(key.digest), key.rates.or(self.rates))).collect()
    }
}

/// The rules in force, and what is left of the limits.
#[derive(Debug)]
pub struct Access {
    rules: ArcSwap<AccessRules>,
    limiter: Mutex<Limiter<Client>>,
    room: BodyRoom,
    began: Instant,
}

impl Access {
    /// With these rules; all limits begin full.
    pub fn new(rules: AccessRules) -> Arc<Self> {
        Self::with_room(rules, ALL_BODIES_BYTES)
    }

    /// The same with room for so many bytes of bodies.
    pub fn with_room(rules: AccessRules, bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            room: BodyRoom::new(bytes),
            limiter: Mutex::new(Limiter::new(rules.clients(), 0)),
            rules: ArcSwap::from_pointee(rules),
            began: Instant::now(),
        })
    }

    /// Other rules from now on.
    pub fn replace(&self, rules: AccessRules) {
        let now_ms = self.now_ms();
        let mut limiter = self.lock();
        limiter.set(rules.clients(), now_ms);
        self.rules.store(Arc::new(rules));
    }

    /// How long clients may take now.
    pub fn timeouts(&self) -> Timeouts {
        self.rules.load().timeouts
    }

    /// Where bodies go.
    pub fn body_room(&self) -> &BodyRoom {
        &self.room
    }

    /// Who sent this; `None` if nobody who may.
    pub fn identify(&self, headers: &HeaderMap) -> Option<Client> {
        let rules = self.rules.load();
        let Some(keys) = &rules.keys else { return Some(Client::Anybody) };
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let key = keys.accepted(value.strip_prefix("Bearer ")?)?;
        Some(Client::Key(key.digest))
    }

    /// One request more.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn take_request(&self, client: Client) -> Result<(), Refused> {
        let now_ms = self.now_ms();
        self.lock().take_request(client, now_ms)
    }

    /// The most tokens that a request can come to.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn reserve(self: &Arc<Self>, client: Client, tokens: u32) -> Result<Reservation, Refused> {
        let now_ms = self.now_ms();
        self.lock().take_tokens(client, tokens, now_ms)?;
        Ok(Reservation { access: Arc::clone(self), client, unused: tokens })
    }

    /// What a client has left.
    pub fn remaining(&self, client: Client) -> Remaining {
        let now_ms = self.now_ms();
        self.lock().remaining(client, now_ms)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Limiter<Client>> {
        // Each change is one step, so a panic elsewhere leaves it whole.
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokens that were taken for one answer. What is not used when this is dropped goes back.
#[derive(Debug)]
pub struct Reservation {
    access: Arc<Access>,
    client: Client,
    unused: u32,
}

impl Reservation {
    /// So many were used, by the gateway's own count; the rest goes back now.
    pub fn settle(&mut self, used: u32) {
        let unused = std::mem::take(&mut self.unused).saturating_sub(used);
        if unused > 0 {
            let now_ms = self.access.now_ms();
            self.access.lock().give_back(self.client, unused, now_ms);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle(0);
    }
}
