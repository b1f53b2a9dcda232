//! Tests of energy over windows: exact where it is measured, uncertain where it is not.

use super::*;
use crate::sensors::Quality;

const BOUNDS: Bounds = Bounds { idle_watts: 100.0, most_watts: 700.0 };

fn samples(watts: impl Fn(u64) -> Option<f64>, seconds: u64) -> Vec<PowerSample> {
    (0..=seconds)
        .map(|second| {
            let found = watts(second);
            let quality = if found.is_some() { Quality::Good } else { Quality::Vanished };
            PowerSample { at_ns: second * SECOND_NS, watts: found.unwrap_or(0.0), celsius: None, quality }
        })
        .collect()
}

fn of(samples: &[PowerSample], from: u64, until: u64) -> Energy {
    of_samples(samples, from * SECOND_NS, until * SECOND_NS, Limits::SERVER, BOUNDS)
}

#[test]
fn a_ramp_is_integrated_exactly() {
    let energy = of(&samples(|s| Some(100.0 + 10.0 * s as f64), 60), 10, 50);
    assert!((energy.joules - 40.0 * (100.0 + 300.0)).abs() < 1e-6);
    assert_eq!((energy.gap_ns, energy.updates), (0, 40));
    assert!((energy.above_idle(100.0, 0.0).joules - 12_000.0).abs() < 1e-6);
}

#[test]
fn a_gap_is_uncertain_and_a_short_one_is_not() {
    let short = of(&samples(|s| (s != 30).then_some(400.0), 60), 0, 60);
    assert_eq!(short.gap_ns, 0);
    let long = of(&samples(|s| (!(20..40).contains(&s)).then_some(400.0), 60), 0, 60);
    assert_eq!(long.gap_ns, 21 * SECOND_NS);
    assert!((long.joules - 60.0 * 400.0).abs() < 1e-6);
    assert!(long.sigma > 600.0 * 21.0 / 3.5 && short.sigma < 300.0);
}

#[test]
fn nothing_measured_is_all_gap() {
    let energy = of(&[], 0, 10);
    assert_eq!((energy.gap_share(), energy.updates), (1.0, 0));
    assert!(energy.sigma > 1_000.0);
}

#[test]
fn broken_steps_are_gaps() {
    let step = |from: u64, joules, quality| Step {
        from_ns: from * SECOND_NS,
        until_ns: (from + 1) * SECOND_NS,
        joules,
        quality,
    };
    let steps = [
        step(0, Some(400.0), Quality::Good),
        step(1, None, Quality::Reset),
        step(2, Some(400.0), Quality::Wrapped),
        step(3, Some(400.0), Quality::Good),
    ];
    let energy = of_steps(&steps, 0, 4 * SECOND_NS, Limits::PACKAGE, BOUNDS);
    assert_eq!((energy.gap_ns, energy.updates), (SECOND_NS, 3));
    assert!((energy.joules - 1_600.0).abs() < 1e-6);
}
