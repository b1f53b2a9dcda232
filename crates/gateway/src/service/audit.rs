//! The side of the service that recomputers see, and what follows from what they say: cases, alarms, egress. Must never
//! close a case before its outcome is in the log, nor let text out that the governor has not granted.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use protocol::Claim;
use protocol::lease::Outcome;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Alarm, Busy, Service, ServiceConfig, lock};
use crate::governor::{Governor, Grant};
use crate::log::LogError;
use crate::panel::{Decided, Panel};
use crate::record::Record;
use crate::server_link::Command;
use crate::state::KillReason;
use crate::unverifiable::UnverifiableBudget;

/// Warnings that are shown; the newest.
const WARNINGS_MAX: usize = 64;
/// Text that may not leave for so long does not leave at all: the answer is cut.
const HELD_MAX: Duration = Duration::from_secs(60);

/// Cases, egress and what people must be told.
pub(super) struct Audit {
    pub(super) panel: Mutex<Panel>,
    pub(super) governor: Mutex<Governor>,
    governor_changed: Notify,
    unverifiable: Mutex<UnverifiableBudget>,
    /// Held while an outcome is written down, so that two findings at once are one record.
    writing: Mutex<()>,
    warnings: Mutex<VecDeque<Value>>,
    warned: AtomicU64,
    waits: AtomicU64,
}

impl Audit {
    /// With what an earlier run has left, which comes first whatever the limit: it was promised.
    pub(super) fn new(config: &ServiceConfig, waiting: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Self {
        let mut panel = Panel::new(config.recomputers.clone());
        let mut governor = Governor::new(config.egress);
        for (tag, claim) in waiting {
            let delivered = Claim::decode(&claim).map_or(claim.len(), |claim| claim.output_bytes.len());
            governor.inherit(tag, u64::try_from(delivered).unwrap_or(u64::MAX));
            panel.add_promised(tag, claim, 0);
        }
        Self {
            panel: Mutex::new(panel),
            governor: Mutex::new(governor),
            governor_changed: Notify::new(),
            unverifiable: Mutex::new(UnverifiableBudget::new(config.unverifiable)),
            writing: Mutex::new(()),
            warnings: Mutex::new(VecDeque::new()),
            warned: AtomicU64::new(0),
            waits: AtomicU64::new(0),
        }
    }
}

impl Service {
    /// The next job for a recomputer: the first, second or third.
    pub fn lease(&self, seat: usize) -> Option<(u64, Vec<u8>)> {
        let now_ms = self.now_ms();
        lock(&self.audit.panel).lease(seat, now_ms)
    }

    /// Takes what a recomputer found. If the case has its outcome with it, records that; a failure kills the server.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// Those of the log; the job stays then.
    pub fn judged(&self, seat: usize, tag: u64, outcome: &Outcome) -> Result<(), LogError> {
        let (ruling, is_held) = {
            let mut panel = lock(&self.audit.panel);
            (panel.judge(seat, tag, outcome), panel.has_open_fail())
        };
        // Before anything else: what may be a lie does not go on while others are asked.
        self.hold(is_held);
        for warning in &ruling.warnings {
            self.warn(warning.code(), warning.tag(), &warning.who());
        }
        for decided in ruling.decided {
            self.decide(decided)?;
        }
        let is_held = lock(&self.audit.panel).has_open_fail();
        self.hold(is_held);
        Ok(())
    }

    fn decide(&self, decided: Decided) -> Result<(), LogError> {
        let Decided { tag, outcome, is_pick } = decided;
        // First of all: a server that lies does not go on because a disk is slow or broken.
        if let Outcome::Fail { reason, position } = &outcome {
            self.raise_alarm(tag, reason, *position);
        }
        if !is_pick {
            // The log's outcomes are those of picks.
            lock(&self.audit.panel).close(tag);
            return Ok(());
        }
        {
            let _one_at_a_time = lock(&self.audit.writing);
            // Closed only when it is durable: another connection was faster, and what it was told is true here too.
            if !lock(&self.audit.panel).contains(tag) {
                return Ok(());
            }
            self.log.append_wait(&Record::Judged { tag, outcome: outcome.clone() })?;
            lock(&self.audit.panel).close(tag);
        }
        let is_unverifiable = matches!(outcome, Outcome::Unverifiable { .. });
        let counter = match &outcome {
            Outcome::Pass => &self.counters.passed,
            Outcome::Fail { .. } => &self.counters.failed,
            Outcome::Unverifiable { .. } => &self.counters.unverifiable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let now_ms = self.now_ms();
        lock(&self.audit.governor).judged(now_ms, tag);
        self.audit.governor_changed.notify_waiters();
        lock(&self.recent).add(tag, outcome, now_ms);
        if let Some(over) = lock(&self.audit.unverifiable).add(now_ms, is_unverifiable) {
            let who = format!("{} of {} answers", over.unverifiable, over.outcomes);
            self.warn("unverifiable_budget", tag, &who);
        }
        Ok(())
    }

    /// Kills the server, and keeps what the first failure was. Blocks until the link has room.
    fn raise_alarm(&self, tag: u64, reason: &str, position: Option<u32>) {
        tracing::error!(tag, reason, ?position, "recomputation failed: the server is killed");
        // Whoever sees that the server is dead finds the alarm.
        self.alarm.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                let reason = reason.to_owned();
                *first = Some(Alarm { tag, reason, position, after_ms: self.now_ms() });
            }
            is_first
        });
        if self.commands.blocking_send(Command::Kill(KillReason::Audit)).is_err() {
            tracing::debug!("the server is gone already");
        }
    }

    /// Something that people must look at, and that kills nobody.
    fn warn(&self, code: &'static str, tag: u64, who: &str) {
        tracing::error!(tag, who, "{code}");
        self.audit.warned.fetch_add(1, Ordering::Relaxed);
        let mut warnings = lock(&self.audit.warnings);
        warnings.truncate(WARNINGS_MAX - 1);
        let after_ms = self.now_ms();
        warnings.push_front(
            json!({ "warning": code, "tag": format!("{tag:016x}"), "who": who, "after_ms": after_ms }),
        );
    }

    fn hold(&self, is_held: bool) {
        let now_ms = self.now_ms();
        lock(&self.audit.governor).hold(now_ms, is_held);
        self.audit.governor_changed.notify_waiters();
    }

    /// Picks without an outcome.
    pub fn backlog(&self) -> usize {
        lock(&self.audit.panel).backlog()
    }

    /// How long the oldest of them waits.
    pub(super) fn lag_ms(&self) -> u64 {
        lock(&self.audit.panel).lag_ms(self.now_ms())
    }

    /// Warnings so far.
    pub fn warnings(&self) -> u64 {
        self.audit.warned.load(Ordering::Relaxed)
    }

    /// How often text had to wait.
    pub fn egress_waits(&self) -> u64 {
        self.audit.waits.load(Ordering::Relaxed)
    }

    /// Bytes of text without a check, and how many per second may leave now.
    pub fn egress(&self) -> (u64, u64) {
        let governor = lock(&self.audit.governor);
        (governor.unverified_bytes(), governor.rate())
    }

    /// What people look at.
    pub(super) fn audit_status(&self) -> Value {
        let (unverified_bytes, rate) = self.egress();
        let is_held = lock(&self.audit.governor).is_held();
        let panel = lock(&self.audit.panel);
        let recomputers: Vec<Value> = panel
            .report()
            .into_iter()
            .map(|seat| {
                json!({
                    "name": seat.name,
                    "has_voice": seat.has_voice,
                    "picks": seat.picks,
                    "canaries_found": seat.canaries,
                    "dummies": seat.dummies,
                })
            })
            .collect();
        drop(panel);
        json!({
            "recomputers": recomputers,
            "warnings": *lock(&self.audit.warnings),
            "egress": {
                "unverified_bytes": unverified_bytes,
                "bytes_per_second_max": rate,
                "is_held": is_held,
                "waits": self.egress_waits(),
            },
        })
    }

    /// A tag for a new answer, with room for its text.
    pub(super) fn admit(&self, max_tokens: u32) -> Result<u64, Busy> {
        let now_ms = self.now_ms();
        // Tags are given under this lock only, so that a refusal leaves no gap.
        let mut governor = lock(&self.audit.governor);
        let tag = self.next_tag.load(Ordering::Relaxed);
        let reserve = governor.policy().reserve(max_tokens);
        match governor.admit(now_ms, tag, reserve) {
            Grant::Now => {
                self.next_tag.store(tag.saturating_add(1), Ordering::Relaxed);
                Ok(tag)
            }
            Grant::Wait { ms } => {
                Err(Busy::Egress { unverified_bytes: governor.unverified_bytes(), wait_ms: ms })
            }
            Grant::Never => {
                Err(Busy::Egress { unverified_bytes: governor.unverified_bytes(), wait_ms: 1000 })
            }
        }
    }

    /// Waits until bytes of an answer's text may leave; false if they never may.
    pub(super) async fn let_out(&self, tag: u64, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let began = Instant::now();
        loop {
            let changed = self.audit.governor_changed.notified();
            let now_ms = self.now_ms();
            let grant = lock(&self.audit.governor).deliver(now_ms, tag, bytes);
            let ms = match grant {
                Grant::Now => return true,
                Grant::Never => return false,
                Grant::Wait { ms } => ms,
            };
            if began.elapsed() >= HELD_MAX {
                tracing::warn!(tag, "an answer is cut: too much waits for a check");
                return false;
            }
            self.audit.waits.fetch_add(1, Ordering::Relaxed);
            let _ = tokio::time::timeout(Duration::from_millis(ms), changed).await;
        }
    }

    /// The answer is over, and recorded if there was any.
    pub(super) fn settle_egress(&self, tag: u64, picked: bool) {
        let now_ms = self.now_ms();
        lock(&self.audit.governor).recorded(now_ms, tag, picked);
        self.audit.governor_changed.notify_waiters();
    }

    /// A recorded answer that was picked becomes a case.
    pub(super) fn keep_pick(&self, tag: u64, claim: Vec<u8>) {
        self.counters.sampled.fetch_add(1, Ordering::Relaxed);
        // `ask` keeps room for every answer that is being written.
        if let Err(full) = lock(&self.audit.panel).add(tag, claim, self.now_ms()) {
            tracing::error!(tag, %full, "a sampled answer waits in the log only");
        }
    }

    /// A recorded answer that was not picked may serve to examine recomputers.
    pub(super) fn offer(&self, tag: u64, claim: Vec<u8>) {
        let mut panel = lock(&self.audit.panel);
        if panel.wants_offers() {
            panel.offer(tag, claim);
        }
    }
}
