//! Retries that say so: a request with the `Idempotency-Key` of an earlier one of the same client keeps its nonce, so it
//! keeps its seed, its answer and the coin of that answer. Must never give one client another's answer, nor two nonces to
//! one key within its time.
//!
//! A complete answer is given again as it was, with the same receipt. One that was cut off is asked for again with the
//! same nonce and a new counter, since a tag has one answer. Whoever asks again until an answer is not picked gains
//! nothing: with the same nonce the same answer has the same coin, and a changed one is recorded and has its own.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use protocol::Nonce;

use crate::access::Client;

#[cfg(test)]
mod tests;

/// The header.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// Says that an answer was given before.
pub const REPLAYED_HEADER: &str = "idempotency-replayed";
/// Longest key.
pub const KEY_BYTES_MAX: usize = 255;
/// A key is remembered for so long.
pub const WINDOW_MS: u64 = 10 * 60 * 1000;
/// Keys that are remembered; then the oldest one is forgotten.
pub const KEYS_MAX: usize = 4096;
/// Longest answer that can be given again.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// All answers that are kept; then the oldest key is forgotten.
pub const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// Whose key, and which: a digest with the header's bytes.
type Name = (Client, [u8; 32]);

/// An answer as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its tag.
    pub tag: u64,
    /// Whether it was a stream.
    pub is_stream: bool,
    /// All of its bytes.
    pub bytes: Bytes,
    /// The head of an answer that was passed through; none of the gateway's own.
    pub headers: HeaderMap,
}

/// Why a request with a key is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// Status 400.
    #[error("an Idempotency-Key has 1 to {KEY_BYTES_MAX} visible ASCII characters")]
    Form,
    /// Status 422.
    #[error(
        "this Idempotency-Key came with another request; a retry has the same body, a new request a new key"
    )]
    OtherRequest,
    /// Status 409.
    #[error("the request with this Idempotency-Key is still being answered; ask again in a moment")]
    Running,
    /// Status 409.
    #[error(
        "the request with this Idempotency-Key was answered, too long to be kept; its receipt is {tag:016x}"
    )]
    TooLong {
        /// Its tag.
        tag: u64,
    },
}

impl Kept {
    /// What it takes of the room for answers.
    fn size(&self) -> usize {
        let lines = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        lines.fold(self.bytes.len(), usize::saturating_add)
    }
}

impl KeyRefused {
    /// The status, and after how many seconds to try again, if that helps.
    pub(crate) const fn status(self) -> (StatusCode, Option<u64>) {
        match self {
            Self::Form => (StatusCode::BAD_REQUEST, None),
            Self::OtherRequest => (StatusCode::UNPROCESSABLE_ENTITY, None),
            Self::Running => (StatusCode::CONFLICT, Some(1)),
            Self::TooLong { .. } => (StatusCode::CONFLICT, None),
        }
    }
}

/// What becomes of a request with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is asked, with this nonce if it was asked before.
    Ask(Option<Nonce>),
    /// It was answered.
    Again(Kept),
}

#[derive(Debug)]
enum State {
    /// No nonce before the server is asked.
    Running(Option<Nonce>),
    /// Asked, and not answered to its end.
    Cut(Nonce),
    Done(Kept),
    TooLong(u64),
}

#[derive(Debug)]
struct Entry {
    request: [u8; 32],
    since_ms: u64,
    state: State,
}

/// The keys that are remembered. Pure.
#[derive(Debug, Default)]
pub struct RetryTable {
    entries: HashMap<Name, Entry>,
    /// Names in the order in which they came, with their times; some are gone already.
    order: VecDeque<(Name, u64)>,
    bytes: usize,
}

impl RetryTable {
    /// A request with a key comes.
    ///
    /// # Errors
    /// [`KeyRefused`].
    pub fn begin(&mut self, name: Name, request: [u8; 32], now_ms: u64) -> Result<Begun, KeyRefused> {
        self.forget(now_ms);
        if let Some(entry) = self.entries.get_mut(&name) {
            if entry.request != request {
                return Err(KeyRefused::OtherRequest);
            }
            return match &entry.state {
                State::Running(_) => Err(KeyRefused::Running),
                State::TooLong(tag) => Err(KeyRefused::TooLong { tag: *tag }),
                State::Done(kept) => Ok(Begun::Again(kept.clone())),
                State::Cut(nonce) => {
                    let nonce = *nonce;
                    entry.state = State::Running(Some(nonce));
                    Ok(Begun::Ask(Some(nonce)))
                }
            };
        }
        while self.entries.len() >= KEYS_MAX && self.forget_oldest() {}
        self.entries.insert(name, Entry { request, since_ms: now_ms, state: State::Running(None) });
        self.order.push_back((name, now_ms));
        Ok(Begun::Ask(None))
    }

    /// The server is asked, with this nonce.
    pub fn asked(&mut self, name: &Name, nonce: Nonce) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.state = State::Running(Some(nonce));
        }
    }

    /// The answer was given to its end.
    pub fn done(&mut self, name: &Name, kept: Kept) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if kept.size() > ANSWER_BYTES_MAX {
            entry.state = State::TooLong(kept.tag);
            return;
        }
        self.bytes += kept.size();
        entry.state = State::Done(kept);
        while self.bytes > ANSWERS_BYTES_MAX && self.forget_oldest() {}
    }

    /// It was not, or was not even asked for.
    pub fn cut(&mut self, name: &Name) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        match entry.state {
            State::Running(Some(nonce)) => entry.state = State::Cut(nonce),
            State::Running(None) => drop(self.entries.remove(name)),
            State::Cut(_) | State::Done(_) | State::TooLong(_) => {}
        }
    }

    fn forget(&mut self, now_ms: u64) {
        while self.order.front().is_some_and(|(_, since_ms)| now_ms.saturating_sub(*since_ms) >= WINDOW_MS) {
            self.forget_oldest();
        }
    }

    /// False if there is none.
    fn forget_oldest(&mut self) -> bool {
        let Some((name, since_ms)) = self.order.pop_front() else { return false };
        // The same name may have come again after its first request was not even asked.
        if self.entries.get(&name).is_some_and(|entry| entry.since_ms == since_ms)
            && let Some(Entry { state: State::Done(kept), .. }) = self.entries.remove(&name)
        {
            self.bytes = self.bytes.saturating_sub(kept.size());
        }
        true
    }
}

/// The same with a clock and a lock.
#[derive(Debug)]
pub struct Retries {
    table: Mutex<RetryTable>,
    began: Instant,
}

/// A request that has a key, until it is answered or given up.
#[derive(Debug)]
pub struct RetryTicket {
    retries: Arc<Retries>,
    name: Name,
    kept: Vec<u8>,
}

/// What becomes of a request with a key, and what has to be told of it.
pub enum Retry {
    /// It is asked.
    Ask(RetryTicket, Option<Nonce>),
    /// It was answered.
    Again(Kept),
}

impl Retries {
    /// Without any key.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), began: Instant::now() })
    }

    /// A request of a client comes with a key, to a route and with a body. `scope` tells clients apart that are one to the
    /// gateway.
    ///
    /// # Errors
    /// [`KeyRefused`].
    pub fn begin(
        self: &Arc<Self>,
        client: Client,
        scope: &[u8],
        key: &[u8],
        route: &[u8],
        body: &[u8],
    ) -> Result<Retry, KeyRefused> {
        let is_visible = key.iter().all(|byte| (0x21..=0x7e).contains(byte));
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !is_visible {
            return Err(KeyRefused::Form);
        }
        let name = (client, digest(scope, key));
        let request = digest(route, body);
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match self.lock().begin(name, request, now_ms)? {
            Begun::Ask(nonce) => {
                let ticket = RetryTicket { retries: Arc::clone(self), name, kept: Vec::new() };
                Ok(Retry::Ask(ticket, nonce))
            }
            Begun::Again(kept) => Ok(Retry::Again(kept)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, RetryTable> {
        // Each change leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of two byte strings, each in its place.
fn digest(first: &[u8], second: &[u8]) -> [u8; 32] {
    let length = (first.len() as u64).to_le_bytes();
    *blake3::Hasher::new().update(&length).update(first).update(second).finalize().as_bytes()
}

impl RetryTicket {
    /// The server is asked, with this nonce.
    pub fn asked(&self, nonce: Nonce) {
        self.retries.lock().asked(&self.name, nonce);
    }

    /// These bytes were given to the client, or will be.
    pub fn keep(&mut self, bytes: &[u8]) {
        // One byte too many says that it is too long.
        let room = (ANSWER_BYTES_MAX + 1).saturating_sub(self.kept.len());
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// They were all.
    pub fn done(self, tag: u64, is_stream: bool) {
        self.done_with(tag, is_stream, HeaderMap::new());
    }

    /// The same for an answer with a head of its own.
    pub(crate) fn done_with(mut self, tag: u64, is_stream: bool, headers: HeaderMap) {
        let bytes = Bytes::from(std::mem::take(&mut self.kept));
        self.retries.lock().done(&self.name, Kept { tag, is_stream, bytes, headers });
    }
}

impl Drop for RetryTicket {
    fn drop(&mut self) {
        self.retries.lock().cut(&self.name);
    }
}
