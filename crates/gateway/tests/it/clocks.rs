//! Clocks that jump back and forth: every pure part that has time as an argument stays within its limits. (The shells give
//! them monotonic clocks; this is for when a system's is not.)
#![expect(clippy::print_stdout, reason = "the seed of a failure")]

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use gateway::governor::{Governor, GovernorPolicy, Grant};
use gateway::limits::{Limiter, Rates};
use gateway::sampling::PPB;
use gateway::spool::{Recorded, Spool};
use gateway::state::{Asked, Event, KillReason, Limits, Mode, State};
use gateway::unverifiable::{BudgetPolicy, UnverifiableBudget};
use protocol::link::FromServer;

const SEED: u64 = 11;
const MINUTE_MS: u64 = 60_000;

/// A minute in so many steps; after each step the clock jumps back anywhere.
fn jumps(steps: u64) -> Vec<u64> {
    println!("seed {SEED}");
    let mut random = SEED;
    (0..=steps)
        .flat_map(|step| {
            let now_ms = step * MINUTE_MS / steps;
            [now_ms, crate::crash::splitmix(&mut random) % (now_ms + 1)]
        })
        .collect()
}

#[test]
fn no_jump_gives_more_than_the_rate() {
    let rates = Rates { requests_per_minute: NonZeroU32::new(60), tokens_per_minute: NonZeroU32::new(6000) };
    let mut limiter = Limiter::new([((), rates)], 0);
    let (mut requests, mut tokens) = (0, 0);
    for now_ms in jumps(5000) {
        requests += u32::from(limiter.take_request((), now_ms).is_ok());
        if limiter.take_tokens((), 100, now_ms).is_ok() {
            tokens += 100;
        }
    }
    // A full bucket, and what a minute brings; not less either.
    assert!((119..=120).contains(&requests), "{requests}");
    assert!((11_900..=12_000).contains(&tokens), "{tokens}");
    // Back to the beginning and for good: everything that is used up stays so, and nobody waits longer than a minute.
    let mut limiter = Limiter::new([((), rates)], MINUTE_MS);
    while limiter.take_request((), MINUTE_MS).is_ok() {}
    let refused = limiter.take_request((), 0).unwrap_err();
    let gateway::limits::Refused::Wait { wait_ms, .. } = refused else { unreachable!("{refused:?}") };
    assert!(wait_ms <= MINUTE_MS, "{wait_ms}");
}

#[test]
fn a_lease_is_neither_given_out_early_nor_counted_twice() {
    let mut spool = Spool::new(500, 10);
    spool.add(1, vec![7], 1000).unwrap();
    assert!(spool.lease(1000).is_some());
    for now_ms in [999, 0, 1499] {
        assert_eq!(spool.lease(now_ms), None, "{now_ms}");
    }
    // Far ahead and back: it was given out again, until 500 ms after that.
    assert!(spool.lease(1_000_000).is_some());
    for now_ms in [1500, 1_000_499, 0] {
        assert_eq!(spool.lease(now_ms), None, "{now_ms}");
    }
    assert_eq!((spool.done(1), spool.done(1)), (Recorded::First, Recorded::Ignored));
    assert!(jumps(100).into_iter().all(|now_ms| spool.lease(now_ms).is_none()));
    // The end of time is no end of a lease.
    spool.add(2, vec![8], 0).unwrap();
    assert!(spool.lease(u64::MAX).is_some() && spool.lease(u64::MAX - 1).is_none());
}

#[test]
fn no_jump_lets_more_out_unchecked() {
    let policy = GovernorPolicy { cap_bytes_per_s: 100, unverified_bytes_max: 100_000, tau_ms: MINUTE_MS };
    let mut governor = Governor::new(policy);
    let mut out = 0;
    for (tag, now_ms) in (0..).zip(jumps(5000)) {
        if governor.admit(now_ms, tag, 10) == Grant::Now {
            out += 10;
            assert_eq!(governor.deliver(now_ms, tag, 10), Grant::Now);
            governor.recorded(now_ms, tag, false);
        }
    }
    // A second's worth that was saved up, and a minute's.
    assert!(out <= 61 * 100, "{out}");
    assert!(out >= 50 * 100, "{out}");
}

#[test]
fn no_jump_hides_answers_without_a_verdict() {
    let policy = BudgetPolicy { share_ppb: PPB / 10, window_ms: 1000 };
    let mut budget = UnverifiableBudget::new(policy);
    let over = jumps(1000).into_iter().filter_map(|now_ms| budget.add(now_ms, true)).count();
    assert!(over >= 1);
    let mut budget = UnverifiableBudget::new(policy);
    assert!(jumps(1000).into_iter().all(|now_ms| budget.add(now_ms, false).is_none()));
}

/// A server that has one request.
fn asked(now_ms: u64) -> State {
    let limits = Limits {
        weights_bytes: 1,
        vocabulary: 10,
        context: 64,
        load_ms: 1000,
        readback_ms: 1000,
        silence_ms: 1000,
    };
    let mut state = State::new(limits, BTreeSet::new());
    for event in [
        Event::Boot,
        Event::GroupVerified { bytes: 1 },
        Event::Server(FromServer::Ready),
        Event::Challenged { challenge: 1, digest: [8; 32] },
        Event::Server(FromServer::Readback { challenge: 1, digest: [8; 32] }),
        Event::Asked(1, Asked { prompt_tokens: 1, max_tokens: 5, logprobs: None }),
    ] {
        state.handle(now_ms, event);
    }
    assert_eq!(state.mode(), Mode::Serving);
    state
}

#[test]
fn a_jump_back_ends_no_deadline_early_and_a_jump_ahead_ends_it() {
    let mut state = asked(10_000);
    for now_ms in [9_999, 0, 10_000, 5_000, 11_000] {
        state.handle(now_ms, Event::Tick);
        assert_eq!(state.mode(), Mode::Serving, "{now_ms}");
    }
    state.handle(11_001, Event::Tick);
    assert_eq!(state.mode(), Mode::Killed(KillReason::Silent));
    let mut state = asked(0);
    state.handle(u64::MAX, Event::Tick);
    assert_eq!(state.mode(), Mode::Killed(KillReason::Silent));
}
