//! A share is kept over time, whatever the processes do between ticks; without a limit nobody rests.

use super::*;

const TICK_NS: u64 = 100_000_000;

/// Processes that use all that they can of one processor unless they rest; what they used in 20 seconds.
fn used(limit: Option<u64>) -> f64 {
    let mut limiter = Limiter::default();
    limiter.limit(limit);
    let mut seconds = 0.0;
    let mut must_rest = limiter.must_rest(0, 0.0);
    for tick in 1..=200 {
        if !must_rest {
            seconds += 0.1;
        }
        must_rest = limiter.must_rest(tick * TICK_NS, seconds);
    }
    seconds
}

#[test]
fn a_share_is_kept() {
    assert!((used(None) - 20.0).abs() < 0.01);
    for milli in [100, 250, 500] {
        let share = used(Some(milli)) / 20.0;
        let wanted = milli as f64 / 1e3;
        assert!((share - wanted).abs() < 0.03, "{milli}: {share}");
    }
}

#[test]
fn what_was_used_before_the_limit_is_not_owed_for_ever() {
    let mut limiter = Limiter::default();
    limiter.must_rest(0, 0.0);
    limiter.limit(Some(500));
    assert!(limiter.must_rest(TICK_NS, 1_000.0));
    let first = (2..200).find(|tick| !limiter.must_rest(tick * TICK_NS, 1_000.0)).unwrap();
    assert!(first <= 42, "it rests for {first} ticks");
    limiter.limit(None);
    assert!(!limiter.must_rest(200 * TICK_NS, 2_000.0));
}
