//! Every way in which a counter can lie, and that none of them becomes energy.

use proptest::prelude::*;

use super::{Counter, Limits, Quality, Step};

/// 100 W, wraps behind 1 kJ, frozen after 2 s.
const LIMITS: Limits =
    Limits { range_uj: Some(1_000_000_000), most_uw: 100_000_000, frozen_after_us: 2_000_000 };
const SECOND: u64 = 1_000_000;

fn qualities(limits: Limits, values: &[(u64, u64)]) -> (Vec<Quality>, u64, u64) {
    let mut counter = Counter::new(limits);
    let qualities = values.iter().map(|(at, value)| counter.observe(*at, *value).quality).collect();
    (qualities, counter.energy_uj(), counter.gap_us())
}

#[test]
fn plain_differences_are_energy() {
    let values = [(0, 5_000_000), (SECOND, 55_000_000), (2 * SECOND, 155_000_000)];
    assert_eq!(
        qualities(LIMITS, &values),
        (vec![Quality::First, Quality::Good, Quality::Good], 150_000_000, 0)
    );
}

#[test]
fn a_wrap_is_energy_and_a_reset_is_none() {
    let near = 990_000_000;
    let wrapped = qualities(LIMITS, &[(0, near), (SECOND, 40_000_000)]);
    assert_eq!(wrapped, (vec![Quality::First, Quality::Wrapped], 50_000_000, 0));
    // From the middle of the range it would be more than the device can draw.
    let reset = qualities(LIMITS, &[(0, 500_000_000), (SECOND, 40_000_000)]);
    assert_eq!(reset, (vec![Quality::First, Quality::Reset], 0, SECOND));
    // A counter that never wraps, and one that is beyond its own range.
    let endless = Limits { range_uj: None, ..LIMITS };
    assert_eq!(qualities(endless, &[(0, near), (SECOND, 40)]).0[1], Quality::Reset);
    assert_eq!(qualities(LIMITS, &[(0, u64::MAX), (SECOND, 40)]).0[1], Quality::Reset);
    // Behind a reset it goes on.
    let on = qualities(LIMITS, &[(0, 500_000_000), (SECOND, 0), (2 * SECOND, 7)]);
    assert_eq!((on.0[2], on.1), (Quality::Good, 7));
}

#[test]
fn jumps_freezes_and_clocks_are_named() {
    let jump = qualities(LIMITS, &[(0, 0), (SECOND, 100_000_001), (2 * SECOND, 100_000_002)]);
    assert_eq!(jump, (vec![Quality::First, Quality::Implausible, Quality::Good], 1, SECOND));
    let frozen: Vec<(u64, u64)> = (0..5).map(|second| (second * SECOND, 77)).collect();
    let (found, energy, gap) = qualities(LIMITS, &frozen);
    // Near miss: an idle device may stand still for a moment.
    assert_eq!(found[1..], [Quality::Good, Quality::Good, Quality::Frozen, Quality::Frozen]);
    assert_eq!((energy, gap), (0, 2 * SECOND));
    let back = qualities(LIMITS, &[(SECOND, 10), (SECOND, 20), (0, 30), (2 * SECOND, 40)]);
    assert_eq!(back.0, [Quality::First, Quality::Clock, Quality::Clock, Quality::Good]);
    assert_eq!(back.1, 30, "each microjoule once");
}

#[test]
fn what_vanishes_leaves_a_gap() {
    let mut counter = Counter::new(LIMITS);
    counter.observe(0, 10);
    counter.vanish(SECOND);
    counter.vanish(2 * SECOND);
    let first = Step { energy_uj: 0, window_us: 0, quality: Quality::First };
    assert_eq!(counter.observe(3 * SECOND, 5_000_000), first);
    assert_eq!((counter.energy_uj(), counter.gap_us()), (0, SECOND));
}

proptest! {
    #[test]
    fn energy_is_never_more_than_the_device_can_draw(
        values in prop::collection::vec((any::<u32>(), prop_oneof![0..2_000_000_000_u64, any::<u64>()]), 0..40),
        range_uj in prop::option::of(any::<u64>()),
        most_uw in any::<u32>(),
    ) {
        let limits = Limits { range_uj, most_uw: u64::from(most_uw), frozen_after_us: 1000 };
        let mut counter = Counter::new(limits);
        let (mut at, mut sum) = (0_u64, 0_u128);
        for (step, value) in values {
            at += u64::from(step);
            let step = counter.observe(at, value);
            sum += u128::from(step.energy_uj);
            prop_assert!(u128::from(step.energy_uj) * 1_000_000 <= u128::from(most_uw) * u128::from(step.window_us));
        }
        prop_assert_eq!(sum, u128::from(counter.energy_uj()));
        prop_assert!(counter.gap_us() <= at);
    }
}
