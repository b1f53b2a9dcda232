//! The governor against its bound, for any schedule.

use proptest::prelude::*;

use super::*;

const POLICY: GovernorPolicy =
    GovernorPolicy { cap_bytes_per_s: 1000, unverified_bytes_max: 10_000, tau_ms: 5000 };

/// A whole answer at once.
fn answer(governor: &mut Governor, now_ms: u64, tag: u64, bytes: u64, picked: bool) -> bool {
    let admitted = governor.admit(now_ms, tag, bytes) == Grant::Now;
    if admitted {
        assert_eq!(governor.deliver(now_ms, tag, bytes), Grant::Now);
        governor.recorded(now_ms, tag, picked);
    }
    admitted
}

#[test]
fn the_rate_falls_with_the_backlog_and_comes_back() {
    let mut governor = Governor::new(POLICY);
    // 10,000 bytes of room over 5 s would be 2,000 a second: the cap holds.
    assert_eq!(governor.rate(), 1000);
    for second in 1..=6 {
        assert!(answer(&mut governor, second * 1000, second, 1000, true));
    }
    // (10,000 - 6,000) / 5 s.
    assert_eq!((governor.unverified_bytes(), governor.rate()), (6000, 800));
    governor.inherit(99, 3000);
    assert_eq!(governor.rate(), 200);
    governor.inherit(100, 1000);
    assert_eq!(governor.rate(), 0);
    assert_eq!(governor.admit(1 << 40, 7, 1), Grant::Wait { ms: 1000 });
    for tag in [99, 100, 1, 1, 12345] {
        governor.judged(1 << 40, tag);
    }
    assert_eq!((governor.unverified_bytes(), governor.rate(), governor.oldest()), (5000, 1000, Some(2)));
}

#[test]
fn what_was_not_picked_waits_for_all_earlier_picks() {
    let mut governor = Governor::new(POLICY);
    let unverified = |governor: &Governor| governor.unverified_bytes();
    // Nothing was picked before it.
    assert!(answer(&mut governor, 0, 1, 10, false));
    assert_eq!(unverified(&governor), 0);
    for (tag, bytes, picked) in [(2, 100, true), (3, 20, false), (4, 200, true), (5, 30, false)] {
        assert!(answer(&mut governor, 0, tag, bytes, picked));
    }
    assert_eq!(unverified(&governor), 350);
    // The later pick's own bytes are verified; what followed it still waits for the first one.
    governor.judged(0, 4);
    assert_eq!(unverified(&governor), 150);
    governor.judged(0, 2);
    assert_eq!(unverified(&governor), 0);
    // The other way round.
    for (tag, bytes, picked) in [(6, 100, true), (7, 20, false), (8, 200, true), (9, 30, false)] {
        assert!(answer(&mut governor, 0, tag, bytes, picked));
    }
    governor.judged(0, 6);
    assert_eq!(unverified(&governor), 230);
    governor.judged(0, 8);
    assert_eq!(unverified(&governor), 0);
}

#[test]
fn a_wait_is_as_long_as_the_rate_needs() {
    let mut governor = Governor::new(POLICY);
    assert!(answer(&mut governor, 0, 1, 1000, false));
    assert_eq!(governor.admit(0, 2, 500), Grant::Wait { ms: 500 });
    assert_eq!(governor.admit(499, 2, 500), Grant::Wait { ms: 1 });
    assert!(answer(&mut governor, 500, 2, 500, false));
    // More than one second's worth comes too, if it fits at all.
    assert_eq!(governor.admit(500, 2, 3000), Grant::Wait { ms: 1000 });
    assert_eq!(governor.admit(3499, 2, 3000), Grant::Wait { ms: 1 });
    assert!(answer(&mut governor, 3500, 2, 3000, false));
    assert_eq!(governor.admit(3500, 2, 10_001), Grant::Never);
    assert_eq!(governor.admit(3500, 2, 10_000), Grant::Wait { ms: 1000 });
}

#[test]
fn an_answer_that_grows_asks_for_more_and_what_is_not_used_comes_back() {
    let mut governor = Governor::new(POLICY);
    assert_eq!(governor.admit(0, 1, 100), Grant::Now);
    assert_eq!(governor.deliver(0, 1, 100), Grant::Now);
    assert_eq!(governor.deliver(0, 1, 900), Grant::Now);
    // The second's worth is used up.
    assert_eq!(governor.deliver(0, 1, 1), Grant::Wait { ms: 1 });
    assert_eq!(governor.unverified_bytes(), 1000);
    governor.recorded(0, 1, false);
    assert_eq!(governor.admit(1000, 2, 1000), Grant::Now);
    assert_eq!(governor.deliver(1000, 2, 10), Grant::Now);
    assert_eq!(governor.admit(1000, 3, 900), Grant::Wait { ms: 900 });
    governor.recorded(1000, 2, false);
    assert_eq!(governor.admit(1000, 3, 900), Grant::Now);
}

/// A44: with a dead recomputer, egress ends at the bound, and nothing is forgotten to make room.
#[test]
fn without_a_recomputer_egress_ends() {
    let mut governor = Governor::new(POLICY);
    let mut left = 0;
    for now_ms in (0..3_600_000).step_by(10) {
        // One in ten is picked; all of them are held up.
        left += u64::from(answer(&mut governor, now_ms, now_ms, 7, now_ms % 100 == 0)) * 7;
    }
    assert!((9000..=10_000).contains(&left), "{left}");
    assert_eq!(governor.unverified_bytes(), left);
    // The last hour's end: still nothing.
    assert!(matches!(governor.admit(36_000_000, 1, 1000), Grant::Wait { .. }));
}

/// The near miss: the same traffic at the cap, with a recomputer that is two seconds behind, is never held up.
#[test]
fn a_recomputer_that_keeps_up_costs_nothing() {
    let mut governor = Governor::new(POLICY);
    for now_ms in (0..3_600_000).step_by(10) {
        assert!(answer(&mut governor, now_ms, now_ms, 10, now_ms % 100 == 0), "{now_ms}");
        if let Some(judged) = u64::checked_sub(now_ms, 2000) {
            governor.judged(now_ms, judged);
        }
    }
}

#[test]
fn a_hold_stops_everything_and_time_in_it_saves_nothing() {
    let mut governor = Governor::new(POLICY);
    assert_eq!(governor.admit(0, 1, 1000), Grant::Now);
    governor.hold(0, true);
    // What is being written stops too.
    assert_eq!(governor.deliver(0, 1, 1), Grant::Wait { ms: 1000 });
    assert_eq!(governor.admit(5000, 2, 1), Grant::Wait { ms: 1000 });
    governor.hold(5000, false);
    assert_eq!(governor.deliver(5000, 1, 1), Grant::Now);
    assert_eq!(governor.admit(5000, 2, 100), Grant::Wait { ms: 100 });
    assert_eq!(governor.admit(5100, 2, 100), Grant::Now);
}

#[derive(Clone, Debug)]
enum Step {
    Admit { tag: u64, bytes: u64 },
    Deliver { tag: u64, bytes: u64 },
    Recorded { tag: u64, picked: bool },
    Judged { tag: u64 },
    Hold(bool),
    Pass { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let tag = 0..8_u64;
    prop_oneof![
        3 => (tag.clone(), 1..4000_u64).prop_map(|(tag, bytes)| Step::Admit { tag, bytes }),
        4 => (tag.clone(), 1..2000_u64).prop_map(|(tag, bytes)| Step::Deliver { tag, bytes }),
        3 => (tag.clone(), any::<bool>()).prop_map(|(tag, picked)| Step::Recorded { tag, picked }),
        2 => tag.prop_map(|tag| Step::Judged { tag }),
        1 => any::<bool>().prop_map(Step::Hold),
        5 => (0..3000_u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// What was delivered, as a plain list: the oracle.
#[derive(Default)]
struct Ledger {
    open: BTreeMap<u64, u64>,
    /// Tag, picked and without an outcome, bytes.
    recorded: Vec<(u64, bool, u64)>,
}

impl Ledger {
    fn unverified(&self) -> u64 {
        let mut earlier_pick = false;
        let mut bytes: u64 = self.open.values().sum();
        for (_, waits, of_answer) in &self.recorded {
            earlier_pick |= waits;
            // A pick that has its outcome is out of the list.
            bytes += if earlier_pick { *of_answer } else { 0 };
        }
        bytes
    }
}

proptest! {
    /// Whatever is delivered, judged and held, and whenever: unverified bytes stay within the bound, and over any time
    /// from the start no more leaves than the cap and one burst allow.
    #[test]
    fn the_leak_bound_holds_for_any_schedule(
        steps in prop::collection::vec(step(), 0..200),
        cap_bytes_per_s in 1..5000_u64,
        unverified_bytes_max in 1..20_000_u64,
        tau_ms in 1..20_000_u64,
    ) {
        let policy = GovernorPolicy { cap_bytes_per_s, unverified_bytes_max, tau_ms };
        let mut governor = Governor::new(policy);
        let mut ledger = Ledger::default();
        let (mut now_ms, mut left, mut largest, mut held) = (0_u64, 0_u64, 0_u64, false);
        for step in steps {
            match step {
                Step::Admit { tag, bytes } => {
                    largest = largest.max(bytes);
                    prop_assert!(governor.admit(now_ms, tag, bytes) != Grant::Now || !held);
                }
                Step::Deliver { tag, bytes } => {
                    largest = largest.max(bytes);
                    if governor.deliver(now_ms, tag, bytes) == Grant::Now {
                        prop_assert!(!held);
                        *ledger.open.entry(tag).or_default() += bytes;
                        left += bytes;
                    }
                }
                Step::Recorded { tag, picked } => {
                    // The same tag is not picked twice.
                    let picked = picked && !ledger.recorded.iter().any(|(other, waits, _)| *waits && *other == tag);
                    governor.recorded(now_ms, tag, picked);
                    if let Some(bytes) = ledger.open.remove(&tag) {
                        ledger.recorded.push((tag, picked, bytes));
                    }
                }
                Step::Judged { tag } => {
                    governor.judged(now_ms, tag);
                    ledger.recorded.retain(|(other, waits, _)| !(*waits && *other == tag));
                }
                Step::Hold(now_held) => {
                    governor.hold(now_ms, now_held);
                    held = now_held;
                }
                Step::Pass { ms } => now_ms += ms,
            }
            // Reservations come on top of what was delivered.
            prop_assert!(ledger.unverified() <= governor.unverified_bytes());
            prop_assert!(governor.unverified_bytes() <= unverified_bytes_max);
            let burst = cap_bytes_per_s.max(largest);
            prop_assert!(left <= burst + cap_bytes_per_s * now_ms / 1000 + 1, "{} left", left);
        }
        // What is over and judged is free again, to the last byte.
        governor.hold(now_ms, false);
        for tag in 0..8 {
            governor.recorded(now_ms, tag, false);
        }
        for tag in 0..8 {
            governor.judged(now_ms, tag);
        }
        prop_assert_eq!(governor.unverified_bytes(), 0);
    }
}
