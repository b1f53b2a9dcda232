//! The recomputers of a gateway: who is given which answer when, and what follows from what they say. Pure: time is an
//! argument, and every choice comes from a key. Must never let one recomputer alone convict a server when there are two,
//! and never close a pick that nobody with a voice has judged.
//!
//! The first recomputer gets every pick. The second gets a share that the first can't predict, and everything that the
//! first does not pass. Two that say *fail* convict; if they disagree, a third decides where there is one, and else the
//! case is undecided. All get canaries: answers with one wrong fingerprint, which only a whole replay tells from right
//! ones. Who passes one has no voice any more. With a slot time each gets one job per slot: if nothing waits, a dummy.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::lease::Outcome;

use crate::sampling::PPB;
use crate::spool::{Spool, SpoolFull};

use self::seat::{Handed, Seat};

mod seat;
#[cfg(test)]
mod tests;

/// Most recomputers: one, a second, and one that decides between them.
pub const SEATS_MAX: usize = 3;
/// What is missing where recomputers contradict each other.
pub const DISAGREE: &str = "recomputers_disagree";

/// Who recomputes, and how they are watched.
#[derive(Clone, Debug)]
pub struct PanelPolicy {
    /// Names of the recomputers: 1 to [`SEATS_MAX`].
    pub names: Vec<String>,
    /// Share of picks that the second gets whatever the first says.
    pub second_ppb: u64,
    /// Canaries per job.
    pub canary_ppb: u64,
    /// Each recomputer gets one job per slot, real or not; 0: each job as soon as it is there, and nothing else.
    pub slot_ms: u64,
    /// A recomputer that has not answered for so long has lost its lease.
    pub lease_ms: u64,
    /// Picks that may wait.
    pub jobs_max: usize,
    /// Behind all choices here; independent of all other keys.
    pub key: [u8; 32],
}

impl PanelPolicy {
    /// One recomputer, that gets what was picked and nothing else.
    pub fn single(lease_ms: u64, jobs_max: usize) -> Self {
        Self {
            names: vec!["first".to_owned()],
            second_ppb: 0,
            canary_ppb: 0,
            slot_ms: 0,
            lease_ms,
            jobs_max,
            key: [0; 32],
        }
    }
}

/// Something about the recomputers that people must look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// One says that an answer is wrong; another one is asked.
    Unconfirmed {
        /// The answer.
        tag: u64,
        /// The recomputer.
        by: String,
    },
    /// They contradict each other.
    Disagreement {
        /// The answer.
        tag: u64,
        /// Who says that it is right, or can't tell.
        not_failed_by: String,
        /// Who says that it is wrong.
        failed_by: String,
    },
    /// One passed an answer that is known to be wrong. Nothing that it says counts any more.
    CanaryPassed {
        /// The canary.
        tag: u64,
        /// The recomputer.
        by: String,
    },
}

impl Warning {
    /// Stable machine name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unconfirmed { .. } => "fail_unconfirmed",
            Self::Disagreement { .. } => DISAGREE,
            Self::CanaryPassed { .. } => "canary_passed",
        }
    }

    /// The answer.
    pub const fn tag(&self) -> u64 {
        match self {
            Self::Unconfirmed { tag, .. }
            | Self::Disagreement { tag, .. }
            | Self::CanaryPassed { tag, .. } => *tag,
        }
    }

    /// Whom it is about, for people.
    pub fn who(&self) -> String {
        match self {
            Self::Unconfirmed { by, .. } | Self::CanaryPassed { by, .. } => by.clone(),
            Self::Disagreement { not_failed_by, failed_by, .. } => format!("{not_failed_by}, {failed_by}"),
        }
    }
}

/// What follows from an opinion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    /// Cases that have their outcome now: the caller records them and then calls [`Panel::close`].
    pub decided: Vec<Decided>,
    /// For people.
    pub warnings: Vec<Warning>,
}

/// A case that has its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The answer.
    pub tag: u64,
    /// What counts.
    pub outcome: Outcome,
    /// Whether it was picked; else it was a dummy that turned out to be wrong.
    pub is_pick: bool,
}

/// What a recomputer did, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatReport {
    /// Its name.
    pub name: String,
    /// False once it passed a canary.
    pub has_voice: bool,
    /// Outcomes of picks that it gave.
    pub picks: u64,
    /// Canaries that it found.
    pub canaries: u64,
    /// Dummies that it replayed.
    pub dummies: u64,
}

/// An answer that waits for its outcome.
#[derive(Debug)]
struct Case {
    claim: Vec<u8>,
    is_pick: bool,
    /// Does not count towards the limit.
    is_promised: bool,
    since_ms: u64,
    /// Whether the second is asked in any case.
    second: bool,
    asked: BTreeSet<usize>,
    opinions: BTreeMap<usize, Outcome>,
}

/// What is known of a case.
enum State {
    /// This one has to be asked first.
    Ask(usize),
    /// Somebody has been asked.
    Wait,
    Decided(Outcome),
}

/// All recomputers, and what they work on.
#[derive(Debug)]
pub struct Panel {
    policy: PanelPolicy,
    seats: Vec<Seat>,
    cases: BTreeMap<u64, Case>,
    /// How many of them count towards the limit; asked for with every request.
    counted: usize,
}

impl Panel {
    /// Nobody has anything to do yet.
    pub fn new(policy: PanelPolicy) -> Self {
        let names = policy.names.iter().take(SEATS_MAX);
        let seats = names.enumerate().map(|(number, name)| Seat::new(name, number, &policy)).collect();
        Self { policy, seats, cases: BTreeMap::new(), counted: 0 }
    }

    /// Adds a picked answer that waits since `now_ms`.
    ///
    /// # Errors
    /// [`SpoolFull`].
    pub fn add(&mut self, tag: u64, claim: Vec<u8>, now_ms: u64) -> Result<(), SpoolFull> {
        if !self.has_room(1) {
            return Err(SpoolFull { jobs: self.backlog() });
        }
        self.open(tag, self.case(tag, claim, now_ms));
        Ok(())
    }

    /// Adds a picked answer whatever the limit says: the gateway is bound to it. It takes no room from others. False if
    /// it waits already.
    pub fn add_promised(&mut self, tag: u64, claim: Vec<u8>, now_ms: u64) -> bool {
        if let Some(open) = self.cases.get_mut(&tag) {
            // A dummy that somebody found wrong is a pick from now on.
            return !std::mem::replace(&mut open.is_pick, true);
        }
        self.open(tag, Case { is_promised: true, ..self.case(tag, claim, now_ms) });
        true
    }

    fn case(&self, tag: u64, claim: Vec<u8>, since_ms: u64) -> Case {
        let second = seat::coin(&self.policy.key, "second", tag) < self.policy.second_ppb;
        let (asked, opinions) = (BTreeSet::new(), BTreeMap::new());
        Case { claim, is_pick: true, is_promised: false, since_ms, second, asked, opinions }
    }

    fn open(&mut self, tag: u64, case: Case) {
        self.insert(tag, case);
        // Nobody has said anything, so nothing is decided.
        let _ = self.advance(tag);
    }

    /// A case that is open stays as it is.
    fn insert(&mut self, tag: u64, case: Case) {
        if let Entry::Vacant(place) = self.cases.entry(tag) {
            self.counted += usize::from(!case.is_promised);
            place.insert(case);
        }
    }

    /// The bytes of an answer's claim that was not picked: from it come canaries and dummies.
    pub fn offer(&mut self, tag: u64, claim: Vec<u8>) {
        let claim: Arc<[u8]> = claim.into();
        for seat in &mut self.seats {
            seat.offer(tag, Arc::clone(&claim));
        }
    }

    /// Whether [`Self::offer`] would be of any use.
    pub fn wants_offers(&self) -> bool {
        self.policy.canary_ppb > 0 || self.policy.slot_ms > 0
    }

    /// The next job of a recomputer, now leased.
    pub fn lease(&mut self, seat: usize, now_ms: u64) -> Option<(u64, Vec<u8>)> {
        self.seats.get_mut(seat)?.lease(now_ms, &self.policy)
    }

    /// A recomputer's opinion. What has no outcome afterwards waits for another recomputer.
    pub fn judge(&mut self, seat: usize, tag: u64, outcome: &Outcome) -> Ruling {
        let mut ruling = Ruling::default();
        let Some(by) = self.seats.get_mut(seat) else { return ruling };
        let name = by.name().to_owned();
        match by.answered(tag, outcome) {
            Handed::Nothing => {}
            Handed::Canary => {
                if *outcome == Outcome::Pass {
                    ruling.warnings.push(Warning::CanaryPassed { tag, by: name });
                    self.silence(seat, &mut ruling);
                }
            }
            Handed::Dummy(claim) => {
                // It is an answer like any other: whoever finds it wrong has found a cheat.
                if matches!(outcome, Outcome::Fail { .. }) {
                    let case = Case { is_pick: false, is_promised: true, ..self.case(tag, claim, 0) };
                    self.insert(tag, case);
                    self.opinion(seat, tag, outcome, &mut ruling);
                }
            }
            Handed::Pick => self.opinion(seat, tag, outcome, &mut ruling),
        }
        ruling
    }

    fn opinion(&mut self, seat: usize, tag: u64, outcome: &Outcome, ruling: &mut Ruling) {
        let Some(case) = self.cases.get_mut(&tag) else { return };
        case.asked.insert(seat);
        let is_new = case.opinions.insert(seat, outcome.clone()).is_none();
        self.settle(tag, ruling);
        if is_new
            && matches!(outcome, Outcome::Fail { .. })
            && !ruling.decided.iter().any(|case| case.tag == tag)
        {
            let by = self.name(seat);
            ruling.warnings.push(Warning::Unconfirmed { tag, by });
        }
    }

    /// Takes a recomputer's voice away: its open opinions count no more.
    fn silence(&mut self, seat: usize, ruling: &mut Ruling) {
        let tags: Vec<u64> = self.cases.keys().copied().collect();
        for tag in tags {
            if let Some(case) = self.cases.get_mut(&tag) {
                case.opinions.remove(&seat);
            }
            self.settle(tag, ruling);
        }
    }

    fn settle(&mut self, tag: u64, ruling: &mut Ruling) {
        let Some(outcome) = self.advance(tag) else { return };
        let Some(case) = self.cases.get(&tag) else { return };
        let by = |wanted: fn(&Outcome) -> bool| {
            let names =
                case.opinions.iter().filter(|(_, opinion)| wanted(opinion)).map(|(seat, _)| self.name(*seat));
            names.collect::<Vec<_>>().join(", ")
        };
        let failed_by = by(|opinion| matches!(opinion, Outcome::Fail { .. }));
        let not_failed_by = by(|opinion| !matches!(opinion, Outcome::Fail { .. }));
        if !failed_by.is_empty() && !not_failed_by.is_empty() {
            ruling.warnings.push(Warning::Disagreement { tag, not_failed_by, failed_by });
        }
        ruling.decided.push(Decided { tag, outcome, is_pick: case.is_pick });
    }

    /// Asks whoever has to be asked; the outcome if there is one.
    fn advance(&mut self, tag: u64) -> Option<Outcome> {
        loop {
            let case = self.cases.get_mut(&tag)?;
            match state(case, &self.seats) {
                State::Ask(seat) => {
                    case.asked.insert(seat);
                    self.seats.get_mut(seat)?.give(tag, &case.claim, case.since_ms);
                }
                State::Wait => return None,
                State::Decided(outcome) => return Some(outcome),
            }
        }
    }

    fn name(&self, seat: usize) -> String {
        self.seats.get(seat).map_or_else(String::new, |seat| seat.name().to_owned())
    }

    /// A case has its outcome, which the caller has recorded durably. False if it was closed before.
    pub fn close(&mut self, tag: u64) -> bool {
        for seat in &mut self.seats {
            seat.close(tag);
        }
        let Some(case) = self.cases.remove(&tag) else { return false };
        self.counted -= usize::from(!case.is_promised);
        let passed = case.opinions.values().all(|opinion| *opinion == Outcome::Pass);
        // Where everything is picked, examinations are made of what was checked.
        if passed && self.wants_offers() && self.seats.iter().any(Seat::has_no_spares) {
            self.offer(tag, case.claim);
        }
        true
    }

    /// Whether somebody says that an answer is wrong, and nobody else has confirmed or denied it yet.
    pub fn has_open_fail(&self) -> bool {
        let failed =
            |case: &Case| case.opinions.values().any(|opinion| matches!(opinion, Outcome::Fail { .. }));
        self.cases.values().any(failed)
    }

    /// Picks without an outcome.
    pub fn backlog(&self) -> usize {
        self.cases.values().filter(|case| case.is_pick).count()
    }

    /// How long the oldest pick without an outcome waits; 0 if there is none.
    pub fn lag_ms(&self, now_ms: u64) -> u64 {
        let oldest = self.cases.values().filter(|case| case.is_pick).map(|case| case.since_ms).min();
        oldest.map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
    }

    /// Whether the answer waits for an outcome.
    pub fn contains(&self, tag: u64) -> bool {
        self.cases.contains_key(&tag)
    }

    /// Whether so many more picks would find room.
    pub fn has_room(&self, jobs: usize) -> bool {
        self.counted.saturating_add(jobs) <= self.policy.jobs_max
    }

    /// What each did.
    pub fn report(&self) -> Vec<SeatReport> {
        self.seats.iter().map(Seat::report).collect()
    }
}

/// The rule. In: opinions of recomputers with a voice. Out: whom to ask, or what holds.
fn state(case: &Case, seats: &[Seat]) -> State {
    let voices: Vec<usize> =
        (0..seats.len()).filter(|seat| seats.get(*seat).is_some_and(Seat::has_voice)).collect();
    let opinion = |place: usize| voices.get(place).and_then(|seat| case.opinions.get(seat));
    let ask = |place: usize| match voices.get(place) {
        Some(seat) if !case.asked.contains(seat) => State::Ask(*seat),
        Some(_) => State::Wait,
        // Nobody is left: it stays open, and what hangs on it stays held back.
        None => State::Wait,
    };
    let Some(first) = opinion(0) else {
        // A dummy that another one found wrong, or a fresh pick. The second's share is asked at the same time.
        let second = (case.second || !case.opinions.is_empty()).then(|| ask(1));
        return match (ask(0), second) {
            (State::Ask(seat), _) | (State::Wait, Some(State::Ask(seat))) => State::Ask(seat),
            _ => State::Wait,
        };
    };
    let is_fail = |opinion: &Outcome| matches!(opinion, Outcome::Fail { .. });
    let all_pass = case.opinions.values().all(|opinion| *opinion == Outcome::Pass);
    if voices.len() == 1 || (all_pass && !case.second) {
        return State::Decided(first.clone());
    }
    let Some(second) = opinion(1) else { return ask(1) };
    match (is_fail(first), is_fail(second)) {
        (true, true) => State::Decided(first.clone()),
        (false, false) if *second == Outcome::Pass => State::Decided(Outcome::Pass),
        (false, false) => State::Decided(first.clone()),
        // One against one: a third decides, or nobody.
        (true, false) | (false, true) => match opinion(2) {
            Some(third @ (Outcome::Pass | Outcome::Fail { .. })) => State::Decided(third.clone()),
            None if voices.len() > 2 => ask(2),
            Some(Outcome::Unverifiable { .. }) | None => {
                State::Decided(Outcome::Unverifiable { missing: DISAGREE.to_owned() })
            }
        },
    }
}
