//! The governor against its bound, for any schedule.

use proptest::prelude::*;

use super::*;

const POLICY: GovernorPolicy =
    GovernorPolicy { cap_bytes_per_s: 1000, unchecked_bytes_max: 10_000, tau_ms: 5000 };

#[test]
fn the_rate_falls_with_the_backlog_and_comes_back() {
    let mut governor = Governor::new(POLICY);
    // 10,000 bytes of room over 5 s would be 2,000 a second: the cap holds.
    assert_eq!(governor.rate(), 1000);
    for second in 1..=6 {
        assert_eq!(governor.grant(second * 1000, second, 1000), Grant::Now);
    }
    // (10,000 - 6,000) / 5 s.
    assert_eq!((governor.unchecked_bytes(), governor.rate()), (6000, 800));
    governor.inherit(99, 3000);
    assert_eq!(governor.rate(), 200);
    governor.inherit(100, 1000);
    assert_eq!((governor.rate(), governor.is_open()), (0, false));
    assert_eq!(governor.grant(1 << 40, 7, 1), Grant::Wait { ms: 1000 });
    governor.checked(1 << 40, 99);
    governor.checked(1 << 40, 100);
    governor.checked(1 << 40, 1);
    // Twice changes nothing.
    governor.checked(1 << 40, 1);
    assert_eq!((governor.unchecked_bytes(), governor.rate()), (5000, 1000));
}

#[test]
fn a_wait_is_as_long_as_the_rate_needs() {
    let mut governor = Governor::new(POLICY);
    assert_eq!(governor.grant(0, 1, 1000), Grant::Now);
    governor.checked(0, 1);
    assert_eq!(governor.grant(0, 2, 500), Grant::Wait { ms: 500 });
    assert_eq!(governor.grant(499, 2, 500), Grant::Wait { ms: 1 });
    assert_eq!(governor.grant(500, 2, 500), Grant::Now);
    // More than one second's worth comes too, if it fits at all.
    assert_eq!(governor.grant(500, 2, 3000), Grant::Wait { ms: 1000 });
    assert_eq!(governor.grant(3499, 2, 3000), Grant::Wait { ms: 1 });
    assert_eq!(governor.grant(3500, 2, 3000), Grant::Now);
    assert_eq!(governor.grant(3500, 2, 10_001), Grant::Never);
    assert_eq!(governor.grant(3500, 2, 10_000), Grant::Wait { ms: 1000 });
}

/// A44: with a dead recomputer, egress ends at the bound, and nothing is forgotten to make room.
#[test]
fn without_a_recomputer_egress_ends() {
    let mut governor = Governor::new(POLICY);
    let mut left = 0;
    for now_ms in (0..3_600_000).step_by(10) {
        if governor.grant(now_ms, now_ms, 7) == Grant::Now {
            left += 7;
        }
    }
    assert!((9000..=10_000).contains(&left), "{left}");
    assert_eq!(governor.unchecked_bytes(), left);
    // The last hour's end: still nothing.
    assert!(matches!(governor.grant(36_000_000, 1, 1000), Grant::Wait { .. }));
}

#[test]
fn a_hold_stops_everything_and_time_in_it_saves_nothing() {
    let mut governor = Governor::new(POLICY);
    assert_eq!(governor.grant(0, 1, 1000), Grant::Now);
    governor.checked(0, 1);
    governor.hold(0, true);
    assert_eq!(governor.grant(5000, 2, 1), Grant::Wait { ms: 1000 });
    governor.hold(5000, false);
    assert_eq!(governor.grant(5000, 2, 100), Grant::Wait { ms: 100 });
    assert_eq!(governor.grant(5100, 2, 100), Grant::Now);
}

#[test]
fn without_a_limit_all_passes_at_once() {
    let mut governor = Governor::new(GovernorPolicy::UNLIMITED);
    for tag in 0..100 {
        assert_eq!(governor.grant(0, tag, 1 << 30), Grant::Now);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send { tag: u64, bytes: u64 },
    Checked { tag: u64 },
    Hold(bool),
    Pass { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8_u64, 1..4000_u64).prop_map(|(tag, bytes)| Step::Send { tag, bytes }),
        2 => (0..8_u64).prop_map(|tag| Step::Checked { tag }),
        1 => any::<bool>().prop_map(Step::Hold),
        5 => (0..3000_u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

proptest! {
    /// Whatever is sent, checked and held, and whenever: unchecked bytes stay within the bound, and over any time from
    /// the start no more leaves than the cap and one burst allow.
    #[test]
    fn the_leak_bound_holds_for_any_schedule(
        steps in prop::collection::vec(step(), 0..200),
        cap_bytes_per_s in 1..5000_u64,
        unchecked_bytes_max in 1..20_000_u64,
        tau_ms in 1..20_000_u64,
    ) {
        let policy = GovernorPolicy { cap_bytes_per_s, unchecked_bytes_max, tau_ms };
        let mut governor = Governor::new(policy);
        // A second count, kept by the rules and not by the governor.
        let mut open = [0_u64; 8];
        let (mut now_ms, mut left, mut largest) = (0_u64, 0_u64, 0_u64);
        let mut held = false;
        for step in steps {
            match step {
                Step::Send { tag, bytes } => {
                    largest = largest.max(bytes);
                    match governor.grant(now_ms, tag, bytes) {
                        Grant::Now => {
                            prop_assert!(!held);
                            open[tag as usize] += bytes;
                            left += bytes;
                        }
                        Grant::Wait { ms } => prop_assert!((1..=WAIT_MS_MAX).contains(&ms)),
                        Grant::Never => prop_assert!(bytes > unchecked_bytes_max),
                    }
                }
                Step::Checked { tag } => {
                    governor.checked(now_ms, tag);
                    open[tag as usize] = 0;
                }
                Step::Hold(now_held) => {
                    governor.hold(now_ms, now_held);
                    held = now_held;
                }
                Step::Pass { ms } => now_ms += ms,
            }
            let unchecked: u64 = open.iter().sum();
            prop_assert_eq!(governor.unchecked_bytes(), unchecked);
            prop_assert!(unchecked <= unchecked_bytes_max);
            let burst = cap_bytes_per_s.max(largest);
            prop_assert!(left <= burst + cap_bytes_per_s * now_ms / 1000 + 1, "{} left", left);
        }
        // What is checked may go on: the bound never locks an honest gateway in.
        for tag in 0..8 {
            governor.checked(now_ms, tag);
        }
        governor.hold(now_ms, false);
        if governor.is_open() {
            let bytes = unchecked_bytes_max.min(100);
            let passes = (0..=200_000).any(|second| {
                governor.grant(now_ms + second * 1000, 0, bytes) == Grant::Now
            });
            prop_assert!(passes);
        }
    }
}
