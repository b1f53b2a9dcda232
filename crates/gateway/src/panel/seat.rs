//! One recomputer: what it has to do, and which of it is an examination. Pure. Must never let canaries and dummies look
//! different from picks before they are replayed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use protocol::Claim;
use protocol::fingerprint::{GOLDILOCKS_PRIME, LogitFingerprint};
use protocol::lease::Outcome;

use super::{PPB, PanelPolicy, SeatReport, Spool};

/// Answers that are kept for canaries and dummies.
const SPARES_MAX: usize = 16;

/// What an opinion is about.
pub(super) enum Handed {
    /// Nothing that it was given.
    Nothing,
    Pick,
    /// Known to be wrong.
    Canary,
    /// An answer that was not picked.
    Dummy(Vec<u8>),
}

#[derive(Debug)]
enum Job {
    Pick,
    Canary,
    Dummy(Vec<u8>),
}

/// An answer that was not picked.
#[derive(Debug)]
struct Spare {
    tag: u64,
    /// The bytes of its claim.
    claim: Arc<[u8]>,
    is_used: bool,
}

#[derive(Debug)]
pub(super) struct Seat {
    name: String,
    number: usize,
    has_voice: bool,
    spool: Spool,
    jobs: BTreeMap<u64, Job>,
    /// Picks under whose tag an examination runs; they come after it.
    deferred: Vec<(u64, Vec<u8>, u64)>,
    spares: VecDeque<Spare>,
    /// Jobs that were given out, for the coins.
    given: u64,
    /// The slot whose job was given out, counted from 1.
    slot: u64,
    picks: u64,
    canaries: u64,
    dummies: u64,
}

/// A number below [`PPB`] that nobody without the key can tell.
pub(super) fn coin(key: &[u8; 32], what: &str, number: u64) -> u64 {
    draw(key, what, number) % PPB
}

fn draw(key: &[u8; 32], what: &str, number: u64) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(what.as_bytes()).update(&[0]).update(&number.to_le_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// The claim with one fingerprint replaced: right in everything that can be looked at without a replay. `None` if it
/// has none.
fn with_wrong_fingerprint(claim: &[u8], key: &[u8; 32], number: u64) -> Option<Vec<u8>> {
    let mut wrong = Claim::decode(claim).ok()?;
    let count = u64::try_from(wrong.fingerprints.len()).ok()?;
    let position = draw(key, "position", number).checked_rem(count)?;
    let place = wrong.fingerprints.get_mut(usize::try_from(position).ok()?)?;
    let element = |what| draw(key, what, number) % GOLDILOCKS_PRIME;
    let drawn = LogitFingerprint::new(element("c0"), element("c1")).ok()?;
    // Equal with a probability of 2^-128.
    (drawn != *place).then(|| *place = drawn)?;
    Some(wrong.encode())
}

impl Seat {
    pub(super) fn new(name: &str, number: usize, policy: &PanelPolicy) -> Self {
        Self {
            name: name.to_owned(),
            number,
            has_voice: true,
            // The limit is the panel's.
            spool: Spool::new(policy.lease_ms, usize::MAX),
            jobs: BTreeMap::new(),
            deferred: Vec::new(),
            spares: VecDeque::new(),
            given: 0,
            slot: 0,
            picks: 0,
            canaries: 0,
            dummies: 0,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn has_voice(&self) -> bool {
        self.has_voice
    }

    pub(super) fn report(&self) -> SeatReport {
        let Self { has_voice, picks, canaries, dummies, .. } = *self;
        SeatReport { name: self.name.clone(), has_voice, picks, canaries, dummies }
    }

    /// Keeps an answer for examinations; the oldest makes room.
    pub(super) fn offer(&mut self, tag: u64, claim: Arc<[u8]>) {
        if self.spares.len() >= SPARES_MAX {
            self.spares.pop_front();
        }
        self.spares.push_back(Spare { tag, claim, is_used: false });
    }

    /// A pick that it has to judge.
    pub(super) fn give(&mut self, tag: u64, claim: &[u8], since_ms: u64) {
        if self.jobs.contains_key(&tag) {
            self.deferred.push((tag, claim.to_vec(), since_ms));
        } else {
            self.enqueue(tag, claim.to_vec(), since_ms, Job::Pick);
        }
    }

    fn enqueue(&mut self, tag: u64, claim: Vec<u8>, since_ms: u64, job: Job) {
        if self.spool.add(tag, claim, since_ms).is_ok() {
            self.jobs.insert(tag, job);
        }
    }

    /// The next job. Within a slot there is only one.
    pub(super) fn lease(&mut self, now_ms: u64, policy: &PanelPolicy) -> Option<(u64, Vec<u8>)> {
        if !self.has_voice {
            return None;
        }
        let is_paced = policy.slot_ms > 0;
        let slot = now_ms.checked_div(policy.slot_ms).map_or(0, |slot| slot.saturating_add(1));
        if is_paced && slot <= self.slot {
            return None;
        }
        // One coin per job that is given out, so that asking again does not toss it again.
        let is_canary = coin(&policy.key, &format!("canary {}", self.number), self.given) < policy.canary_ppb;
        if is_canary && (is_paced || self.spool.has_free(now_ms)) {
            self.add_canary(now_ms, &policy.key);
        }
        if is_paced && !self.spool.has_free(now_ms) {
            self.add_dummy(now_ms);
        }
        let (tag, claim) = self.spool.lease(now_ms)?;
        self.given = self.given.saturating_add(1);
        self.slot = slot;
        Some((tag, claim.to_vec()))
    }

    /// A canary comes from an answer that it has not seen.
    fn add_canary(&mut self, now_ms: u64, key: &[u8; 32]) {
        let jobs = &self.jobs;
        let unseen = |spare: &&mut Spare| !spare.is_used && !jobs.contains_key(&spare.tag);
        let Some(spare) = self.spares.iter_mut().find(unseen) else { return };
        spare.is_used = true;
        let tag = spare.tag;
        let number = tag ^ (u64::try_from(self.number).unwrap_or(u64::MAX) << 60);
        if let Some(wrong) = with_wrong_fingerprint(&spare.claim, key, number) {
            self.enqueue(tag, wrong, now_ms, Job::Canary);
        }
    }

    /// A dummy comes from one that is of no more use for a canary, if there is one.
    fn add_dummy(&mut self, now_ms: u64) {
        let free = |spare: &Spare| !self.jobs.contains_key(&spare.tag);
        let used = self.spares.iter().position(|spare| spare.is_used && free(spare));
        let Some(place) = used.or_else(|| self.spares.iter().position(free)) else { return };
        let Some(mut spare) = self.spares.remove(place) else { return };
        spare.is_used = true;
        let (tag, claim) = (spare.tag, spare.claim.to_vec());
        // The next dummy is another one.
        self.spares.push_back(spare);
        self.enqueue(tag, claim.clone(), now_ms, Job::Dummy(claim));
    }

    /// It says something about a job.
    pub(super) fn answered(&mut self, tag: u64, outcome: &Outcome) -> Handed {
        if !self.has_voice {
            return Handed::Nothing;
        }
        let handed = match self.jobs.get(&tag) {
            None => return Handed::Nothing,
            Some(Job::Pick) => {
                self.picks = self.picks.saturating_add(1);
                // It stays leased until the outcome is recorded.
                return Handed::Pick;
            }
            Some(Job::Canary) => {
                // Who can't tell has not found it, but has not lied either.
                self.canaries =
                    self.canaries.saturating_add(u64::from(matches!(outcome, Outcome::Fail { .. })));
                self.has_voice = *outcome != Outcome::Pass;
                Handed::Canary
            }
            Some(Job::Dummy(claim)) => {
                self.dummies = self.dummies.saturating_add(1);
                Handed::Dummy(claim.clone())
            }
        };
        self.withdraw(tag);
        handed
    }

    /// Whether nothing is left to examine it with.
    pub(super) fn has_no_spares(&self) -> bool {
        self.spares.iter().all(|spare| spare.is_used)
    }

    /// A pick has its outcome.
    pub(super) fn close(&mut self, tag: u64) {
        self.deferred.retain(|(other, ..)| *other != tag);
        if matches!(self.jobs.get(&tag), Some(Job::Pick)) {
            self.withdraw(tag);
        }
    }

    /// A job is over.
    fn withdraw(&mut self, tag: u64) {
        self.spool.done(tag);
        self.jobs.remove(&tag);
        while let Some(place) = self.deferred.iter().position(|(other, ..)| *other == tag) {
            let (tag, claim, since_ms) = self.deferred.swap_remove(place);
            self.enqueue(tag, claim, since_ms, Job::Pick);
        }
    }
}
