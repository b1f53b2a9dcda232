//! One request from the API to its record and receipt. Decides nothing about the server, that is
//! [`crate::state`]'s; never gives out a receipt for what is not durable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use protocol::keys::{SigningKey, VerifyingKey};
use protocol::link::ToServer;
use protocol::receipt::{Receipt, ResponseHasher};
use protocol::whitelist::AuthorizedEntry;
use protocol::{ClaimDigest, Nonce};
use serde_json::{Value, json};
use tokenizer::Tokenizer;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use self::account::Account;
use self::audit::Audit;
use self::session::{Session, Sink};
use crate::access::Reservation;
use crate::epochs::EpochBook;
use crate::governor::GovernorPolicy;
use crate::idempotency::{Kept, Retries, RetryTicket};
use crate::log::{Log, LogError};
use crate::logprobs::LogprobWriter;
use crate::metrics::Metrics;
use crate::openai::{Answer, StopFilter, Wanted};
use crate::panel::PanelPolicy;
use crate::receipts::{ReceiptState, Receipts};
use crate::recent::RecentVerdicts;
use crate::record::{Answered, Record};
use crate::sampling::{AuditPolicy, NonceSource, seed_key_commitment};
use crate::server_link::Command;
use crate::state::{Asked, Mode};
use crate::unverifiable::BudgetPolicy;

mod account;
mod audit;
mod epochs;
mod session;

pub use account::REQUEST_TARGET;
pub(crate) use account::milliseconds;
pub use epochs::{DrawKey, EpochError, EpochSettings, ProofState};

/// Pieces of an answer that wait for a slow client.
const BODY_QUEUE: usize = 16;
/// Low bits of a tag: requests of one run. The high bits are the run's first sequence number in the log.
pub(crate) const TAG_BITS: u32 = 24;

/// What a gateway is started with.
pub struct ServiceConfig {
    /// The model, from the whitelist.
    pub entry: AuthorizedEntry,
    /// Its tokenizer; the whitelist has its digest.
    pub tokenizer: Tokenizer,
    /// Signs receipts.
    pub key: SigningKey,
    /// From which nonces come. Never revealed.
    pub seed_key: [u8; 32],
    /// Draws the key of each epoch's audit, which is revealed after the epoch.
    pub draw_audit_key: DrawKey,
    /// How much is audited.
    pub policy: AuditPolicy,
    /// How long an epoch is, and who draws its beacon.
    pub epochs: EpochSettings,
    /// Requests at the same time.
    pub in_flight_max: usize,
    /// Who recomputes; how many answers may wait for it before no more requests are taken.
    pub recomputers: PanelPolicy,
    /// How much may leave without a check.
    pub egress: GovernorPolicy,
    /// How many answers may stay without a verdict.
    pub unverifiable: BudgetPolicy,
}

/// The numbers that people and monitors look at.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that got a tag.
    pub requests: AtomicU64,
    /// Answers in the log.
    pub answers: AtomicU64,
    /// Answers that are or were to be recomputed.
    pub sampled: AtomicU64,
    /// Those that only a beacon picked; they count as sampled too.
    pub beacon_sampled: AtomicU64,
    /// Recomputed and right.
    pub passed: AtomicU64,
    /// Recomputed and wrong.
    pub failed: AtomicU64,
    /// Could not be recomputed.
    pub unverifiable: AtomicU64,
}

/// The running gateway, shared by all its connections.
pub struct Service {
    entry: AuthorizedEntry,
    tokenizer: Tokenizer,
    key: SigningKey,
    nonces: NonceSource,
    seed_commitment: [u8; 32],
    policy: AuditPolicy,
    epoch_settings: EpochSettings,
    /// Taken for as long as it takes to give an answer its place in the log, never while the disk is waited for.
    epochs: Mutex<EpochBook>,
    draw_audit_key: Mutex<DrawKey>,
    log: Log,
    commands: mpsc::Sender<Command>,
    mode: watch::Receiver<Mode>,
    slots: Arc<Semaphore>,
    in_flight_max: usize,
    audit: Audit,
    receipts: Receipts,
    recent: Mutex<RecentVerdicts>,
    retries: Arc<Retries>,
    next_tag: AtomicU64,
    began: Instant,
    /// What has been counted so far.
    pub counters: Counters,
    /// What only monitors look at.
    pub metrics: Metrics,
    alarm: watch::Sender<Option<Alarm>>,
}

/// A recomputation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The answer.
    pub tag: u64,
    /// Code of the reason.
    pub reason: String,
    /// First wrong token.
    pub position: Option<u32>,
    /// Since the gateway's start.
    pub after_ms: u64,
}

/// Why a request is not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Busy {
    /// Status 429.
    #[error("all {0} places are taken; try again in a moment")]
    Full(usize),
    /// Status 503.
    #[error("{0} sampled answers wait for recomputation; no more are given out until it has caught up")]
    Backlog(usize),
    /// Status 503.
    #[error("the server is not serving ({0:?})")]
    NotServing(Mode),
    /// Status 503.
    #[error("the log can't be written, so nothing can be answered: {0}")]
    Log(LogError),
    /// Status 503.
    #[error("{unverified_bytes} bytes of answers wait for a check; no more leave until it has caught up")]
    Egress {
        /// Delivered or promised without a check.
        unverified_bytes: u64,
        /// When to ask again.
        wait_ms: u64,
    },
    /// Status 503.
    #[error("no epoch can be begun, so nothing can be answered: {0}")]
    Epoch(String),
}

/// A request that was taken.
pub struct Started {
    /// Names it.
    pub tag: u64,
    /// Pieces of a stream, or the whole body.
    pub body: Body,
}

/// A request whose key says which one it is.
pub struct Keyed {
    /// To be told what becomes of it.
    pub ticket: RetryTicket,
    /// The nonce that it was asked with before.
    pub nonce: Option<Nonce>,
}

/// How the answer comes.
pub enum Body {
    /// Token by token.
    Stream(mpsc::Receiver<Bytes>),
    /// All at once; an error is a body for the client too.
    Whole(oneshot::Receiver<Result<Bytes, Bytes>>),
    /// It was given before, and is given again.
    Again(Kept),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind the locks is changed in single steps, so a panic elsewhere leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the machine is told of a request.
fn asked(wanted: &Wanted, prompt_ids: &[u32]) -> Asked {
    Asked {
        prompt_tokens: u32::try_from(prompt_ids.len()).unwrap_or(u32::MAX),
        max_tokens: wanted.settings.max_tokens,
        logprobs: wanted.logprobs,
    }
}

/// What a client sees of an answer besides its text.
fn answer_of(tag: u64, wanted: &Wanted, chat: bool) -> Answer {
    let id = format!("{}-{tag:016x}", if chat { "chatcmpl" } else { "cmpl" });
    Answer { id, created: unix_ms() / 1000, model: wanted.model.clone(), chat }
}

impl Service {
    /// Ends the epoch of an earlier run, begins one, and takes the log over. Blocks on the disk.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn start(
        config: ServiceConfig,
        mut log: Log,
        commands: mpsc::Sender<Command>,
        mode: watch::Receiver<Mode>,
    ) -> Result<Arc<Self>, EpochError> {
        let audit = Audit::new(&config, log.take_waiting());
        let history = log.take_history();
        let service = Self {
            entry: config.entry,
            tokenizer: config.tokenizer,
            receipts: Receipts::new(config.key.clone()),
            key: config.key,
            nonces: NonceSource::new(config.seed_key),
            seed_commitment: seed_key_commitment(&config.seed_key),
            policy: config.policy,
            epoch_settings: config.epochs,
            epochs: Mutex::new(EpochBook::default()),
            draw_audit_key: Mutex::new(config.draw_audit_key),
            log,
            commands,
            mode,
            slots: Arc::new(Semaphore::new(config.in_flight_max)),
            in_flight_max: config.in_flight_max,
            audit,
            recent: Mutex::new(RecentVerdicts::default()),
            retries: Retries::new(),
            next_tag: AtomicU64::new(0),
            began: Instant::now(),
            counters: Counters::default(),
            metrics: Metrics::default(),
            alarm: watch::Sender::new(None),
        };
        let first = service.begin(&history)?;
        service.next_tag.store(first << TAG_BITS, Ordering::Relaxed);
        Ok(Arc::new(service))
    }

    /// The model that is served.
    pub fn entry(&self) -> &AuthorizedEntry {
        &self.entry
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Where the server is in its life.
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// Changes of [`Self::mode`].
    pub fn watch_mode(&self) -> watch::Receiver<Mode> {
        self.mode.clone()
    }

    /// The first failed recomputation.
    pub fn alarm(&self) -> Option<Alarm> {
        self.alarm.borrow().clone()
    }

    /// Changes of [`Self::alarm`].
    pub fn watch_alarm(&self) -> watch::Receiver<Option<Alarm>> {
        self.alarm.subscribe()
    }

    /// With which receipts are verified.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// Everything that people and monitors look at.
    pub fn status(&self) -> Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let alarm = self.alarm().map(|alarm| {
            json!({
                "tag": format!("{:016x}", alarm.tag),
                "reason": alarm.reason,
                "position": alarm.position,
                "after_ms": alarm.after_ms,
            })
        });
        let killed = if let Mode::Killed(reason) = self.mode() { Some(reason.code()) } else { None };
        json!({
            "model": self.entry.entry().name,
            "commitment": self.entry.entry().model.to_string(),
            "numerics": self.entry.entry().numerics,
            "mode": self.mode().name(),
            "killed": killed,
            "requests": count(&self.counters.requests),
            "answers": count(&self.counters.answers),
            "sampled": count(&self.counters.sampled),
            "pass": count(&self.counters.passed),
            "fail": count(&self.counters.failed),
            "unverifiable": count(&self.counters.unverifiable),
            "backlog": self.backlog(),
            "in_flight": self.in_flight(),
            "lag_ms": self.lag_ms(),
            "audit": self.audit_status(),
            "alarm": alarm,
            "recent": lock(&self.recent).to_json(),
        })
    }

    /// Requests whose keys are remembered.
    pub fn retries(&self) -> &Arc<Retries> {
        &self.retries
    }

    /// Answers that are being written.
    pub fn in_flight(&self) -> usize {
        self.in_flight_max.saturating_sub(self.slots.available_permits())
    }

    /// Until no answer is being written any more, and from then on none is begun.
    pub async fn finish_answers(&self) {
        let places = u32::try_from(self.in_flight_max).unwrap_or(u32::MAX);
        // It fails only if they are all gone already.
        if self.slots.acquire_many(places).await.is_ok() {
            self.slots.close();
        }
    }

    /// A receipt, if its answer is durable.
    pub fn receipt(&self, tag: u64) -> ReceiptState {
        self.receipts.get(tag)
    }

    /// Milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Records how the server ended, and ends the epoch. Blocks on the disk.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn ended(&self) -> Result<(), EpochError> {
        if let Mode::Killed(reason) = self.mode() {
            self.log.append_wait(&Record::Killed { reason: reason.code().to_owned() })?;
        }
        self.end_last()
    }

    /// Takes a request: gives it a tag and a nonce and sends it to the server. What the answer does not use of its
    /// reserved tokens goes back at its end. A request that came before with the same key keeps its nonce.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn ask(
        self: &Arc<Self>,
        wanted: Wanted,
        prompt_ids: Vec<u32>,
        chat: bool,
        reserved: Reservation,
        keyed: Option<Keyed>,
    ) -> Result<Started, Busy> {
        if self.mode() != Mode::Serving {
            return Err(Busy::NotServing(self.mode()));
        }
        self.log.check().map_err(Busy::Log)?;
        self.check_epoch()?;
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return Err(Busy::Full(self.in_flight_max));
        };
        // Every answer that is being written may be picked, and a pick must find room.
        if !lock(&self.audit.panel).has_room(self.in_flight()) {
            return Err(Busy::Backlog(self.backlog()));
        }
        // First the place and then the tag: nothing may wait once there is one, or a client that leaves would leave a tag
        // of which the log knows nothing.
        let Ok(place) = self.commands.reserve().await else { return Err(Busy::NotServing(self.mode())) };
        let tag = self.admit(wanted.settings.max_tokens)?;
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let (retry, before) = keyed.map(|keyed| (keyed.ticket, keyed.nonce)).unzip();
        // A retry keeps its nonce, so that nobody can ask again until a coin falls otherwise.
        let nonce = before.flatten().unwrap_or_else(|| self.nonces.nonce(tag));
        let client_seed = wanted.client_seed;
        let message = ToServer::Generate {
            tag,
            prompt_ids: prompt_ids.clone(),
            settings: wanted.settings,
            nonce,
            client_seed,
            logprobs: wanted.logprobs,
        };
        let asked = asked(&wanted, &prompt_ids);
        let (reply, replies) = mpsc::unbounded_channel();
        place.send(Command::Ask { tag, asked, message, reply });
        retry.iter().for_each(|retry| retry.asked(nonce));
        self.receipts.expect(tag);
        let (sink, body) = Sink::of(wanted.stream);
        // On the heap at once: it is long, and a task moves what it runs.
        let session = Box::new(Session {
            service: Arc::clone(self),
            tag,
            nonce,
            retry,
            templated: chat,
            answer: answer_of(tag, &wanted, chat),
            sink,
            filter: StopFilter::new(wanted.stops.clone()),
            wanted,
            prompt_ids,
            hasher: ResponseHasher::new(),
            text: String::new(),
            output_ids: Vec::new(),
            fingerprints: Vec::new(),
            logprobs: Vec::new(),
            writer: LogprobWriter::default(),
            shown_logprobs: Vec::new(),
            asked: Instant::now(),
            account: Account::new(),
            reserved,
            _slot: slot,
        });
        tokio::spawn(session.run(replies));
        Ok(Started { tag, body })
    }
}

impl Sink {
    /// Where an answer goes, and where it comes out.
    fn of(is_stream: bool) -> (Self, Body) {
        if is_stream {
            let (sender, receiver) = mpsc::channel(BODY_QUEUE);
            (Self::Stream(sender), Body::Stream(receiver))
        } else {
            let (sender, receiver) = oneshot::channel();
            (Self::Whole(Some(sender)), Body::Whole(receiver))
        }
    }
}

impl Service {
    /// The end of an answer. False if it is not recorded.
    async fn finish_record(
        self: &Arc<Self>,
        answered: Answered,
        claim: Vec<u8>,
        digest: ClaimDigest,
        receipt: Receipt,
    ) -> bool {
        let tag = answered.tag;
        let has_tokens = !answered.claim.fingerprints.is_empty();
        let (durable, is_picked) = match self.write_answer(answered, &claim, digest).await {
            Ok(written) => written,
            Err(error) => {
                tracing::error!(tag, %error, "an answer could not be recorded: no receipt, no more requests");
                self.receipts.forget(tag);
                return false;
            }
        };
        self.counters.answers.fetch_add(1, Ordering::Relaxed);
        // In this order: what waits for an outcome is counted before it can have one.
        self.settle_egress(tag, is_picked);
        if is_picked {
            self.keep_pick(tag, claim);
        } else if has_tokens {
            self.offer(tag, claim);
        }
        self.receipts.issue(Receipt {
            chain: durable.chain,
            sequence: durable.sequence,
            issued_unix_ms: unix_ms(),
            ..receipt
        });
        true
    }
}

impl crate::listen::Counted for Service {
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
