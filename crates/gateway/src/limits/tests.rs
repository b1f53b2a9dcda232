//! Buckets against a clock that the tests move. The exact moment at which a request fits, and the one before.

use super::*;

fn rates(requests: u32, tokens: u32) -> Rates {
    Rates { requests_per_minute: NonZeroU32::new(requests), tokens_per_minute: NonZeroU32::new(tokens) }
}

fn wait_ms(refused: Result<(), Refused>) -> u64 {
    match refused {
        Err(Refused::Wait { wait_ms, .. }) => wait_ms,
        other => unreachable!("{other:?} does not wait"),
    }
}

#[test]
fn requests_come_back_at_the_exact_moment() {
    // Rates that divide a minute, and such that do not.
    for per_minute in [1, 2, 3, 7, 59, 60, 61, 1000, 59_999, 60_000, 60_001, u32::MAX] {
        let mut limiter = Limiter::new([((), rates(per_minute, 0))], 5);
        for _ in 0..per_minute.min(2000) {
            limiter.take_request((), 5).unwrap();
        }
        if per_minute > 2000 {
            limiter.take_request((), 5).unwrap();
            continue;
        }
        let wait = wait_ms(limiter.take_request((), 5));
        assert_eq!(wait, 60_000_u64.div_ceil(u64::from(per_minute)), "{per_minute}");
        if wait > 1 {
            assert_eq!(wait_ms(limiter.take_request((), 5 + wait - 1)), 1, "{per_minute}");
        }
        limiter.take_request((), 5 + wait).unwrap();
    }
}

#[test]
fn no_more_than_the_rate_over_a_long_time() {
    // Greedy: asks every millisecond for an hour. One minute's worth at once, and then the rate.
    let mut limiter = Limiter::new([((), rates(7, 0))], 0);
    let taken = (0..3_600_000).filter(|&now_ms| limiter.take_request((), now_ms).is_ok()).count();
    assert_eq!(taken, 7 + 7 * 60 - 1, "the last of the hour comes with its end");
    assert!(limiter.take_request((), 3_600_000).is_ok());
    // A clock that goes back gives nothing.
    assert_eq!(wait_ms(limiter.take_request((), 0)), 60_000_u64.div_ceil(7));
}

#[test]
fn tokens_are_taken_whole_and_given_back() {
    let mut limiter = Limiter::new([((), rates(0, 100))], 0);
    limiter.take_tokens((), 60, 0).unwrap();
    // 20 are missing: 12 seconds.
    assert_eq!(wait_ms(limiter.take_tokens((), 60, 0)), 12_000);
    assert_eq!(wait_ms(limiter.take_tokens((), 60, 11_999)), 1);
    limiter.take_tokens((), 60, 12_000).unwrap();
    // The answer was short.
    limiter.give_back((), 50, 12_000);
    limiter.take_tokens((), 50, 12_000).unwrap();
    // More than a minute's worth is never there, however much is given back.
    limiter.give_back((), u32::MAX, 12_000);
    let left = Left { per_minute: 100, remaining: 100, reset_ms: 0 };
    assert_eq!(limiter.remaining((), 12_000), Remaining { requests: None, tokens: Some(left) });
}

#[test]
fn what_never_fits_does_not_wait() {
    let mut limiter = Limiter::new([((), rates(0, 100))], 0);
    assert_eq!(limiter.take_tokens((), 101, 0), Err(Refused::TooLarge { tokens: 101, per_minute: 100 }));
    limiter.take_tokens((), 100, 0).unwrap();
    assert_eq!(limiter.take_tokens((), 101, 0), Err(Refused::TooLarge { tokens: 101, per_minute: 100 }));
    assert_eq!(wait_ms(limiter.take_tokens((), 100, 0)), 60_000);
}

#[test]
fn after_the_wait_both_limits_hold() {
    let mut limiter = Limiter::new([((), rates(1, 100))], 0);
    limiter.take_request((), 0).unwrap();
    limiter.take_tokens((), 100, 0).unwrap();
    // One token comes within 600 ms, but the next request in a minute only.
    let wait = wait_ms(limiter.take_tokens((), 1, 0));
    assert_eq!(wait, 60_000);
    limiter.take_request((), wait).unwrap();
    limiter.take_tokens((), 1, wait).unwrap();
}

#[test]
fn clients_have_their_own_buckets_and_keep_them() {
    let mut limiter = Limiter::new([(1, rates(1, 10)), (2, rates(1, 10))], 0);
    limiter.take_request(1, 0).unwrap();
    limiter.take_tokens(1, 10, 0).unwrap();
    assert!(limiter.take_request(1, 0).is_err());
    limiter.take_request(2, 0).unwrap();
    // A reload with the same or a higher limit is no fresh minute; a new client begins full; a lower limit cuts.
    limiter.set([(1, rates(5, 10)), (3, rates(1, 0))], 0);
    assert!(limiter.take_request(1, 0).is_err());
    assert_eq!(wait_ms(limiter.take_request(1, 0)), 12_000);
    limiter.take_request(3, 0).unwrap();
    limiter.set([(1, rates(100, 10))], 60_000);
    limiter.set([(1, rates(2, 10))], 120_000);
    assert_eq!(limiter.remaining(1, 120_000).requests.map(|left| left.remaining), Some(2));
    // A client without a limit, or without a record.
    limiter.set([(1, Rates::default())], 0);
    for _ in 0..100 {
        limiter.take_request(1, 0).unwrap();
        limiter.take_tokens(9, u32::MAX, 0).unwrap();
    }
    assert_eq!(limiter.remaining(1, 0), Remaining::default());
}

#[test]
fn durations_as_clients_read_them() {
    for (ms, text) in [
        (0, "0ms"),
        (20, "20ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1500, "1.5s"),
        (8640, "8.64s"),
        (60_000, "1m0s"),
        (61_007, "1m1.007s"),
        (360_000, "6m0s"),
    ] {
        assert_eq!(duration_text(ms), text);
    }
}
