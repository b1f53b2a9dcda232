//! A load is found where it is, and nowhere else.

use super::*;
use crate::sensors::{Limits, RawSample};

fn trace(watts: impl Fn(u64) -> f64) -> PowerTrace {
    let raw = (0..1_000).map(|s| RawSample { at_ns: s * SECOND_NS, watts: watts(s), celsius: None });
    PowerTrace::judge("test", raw, Limits::SERVER)
}

#[test]
fn the_longest_load_counts_and_its_ramps_do_not() {
    let noise = |s: u64| (s * 7 % 5) as f64;
    let found = Phases::find(&trace(|s| match s {
        // A short load, a long one with a dip, and noise.
        100..200 => 900.0,
        300..800 if s != 500 => 1_000.0 + noise(s),
        _ => 400.0 + noise(s),
    }))
    .unwrap();
    assert_eq!((found.from_ns, found.until_ns), (330 * SECOND_NS, 769 * SECOND_NS));
    assert!((found.idle_watts - 400.0).abs() < 5.0 && found.idle_sigma_watts >= 4.0);
}

#[test]
fn noise_and_nothing_have_no_load() {
    assert_eq!(Phases::find(&trace(|s| 400.0 + (s % 40) as f64)), Err(Error::TooFew("idle and load")));
    assert_eq!(Phases::find(&PowerTrace::default()), Err(Error::TooFew("idle and load")));
}
