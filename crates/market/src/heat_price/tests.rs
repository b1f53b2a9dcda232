//! The integer exponential against the float one, and at its ends.

use super::{HeatPrice, MAX_FACTOR, ONE};

const HEAT: HeatPrice = HeatPrice { target_mk: 70_000, tau_mk: 5000 };

#[test]
fn factors_are_the_exponential() {
    let mut last = 0;
    for temperature in (0..130_000).step_by(37) {
        let factor = HEAT.factor(temperature);
        let expected = ((temperature - HEAT.target_mk) as f64 / f64::from(HEAT.tau_mk)).exp();
        let found = factor as f64 / ONE as f64;
        // One unit of 2^-32, and the rounding of 40 roots.
        assert!((found - expected).abs() <= expected * 1e-9 + 2.4e-10, "{temperature}: {found} {expected}");
        assert!(factor >= last, "never cheaper where it is hotter");
        last = factor;
    }
    assert_eq!(HEAT.factor(70_000), ONE);
    assert_eq!(HEAT.price(1000, 75_000), 2718);
}

#[test]
fn no_temperature_overflows() {
    for temperature in [i64::MIN, -1, 0, i64::MAX] {
        for target_mk in [i64::MIN, 0, i64::MAX] {
            for tau_mk in [0, 1, u32::MAX] {
                let heat = HeatPrice { target_mk, tau_mk };
                assert!(heat.factor(temperature) <= MAX_FACTOR);
                let _ = heat.price(u64::MAX, temperature);
            }
        }
    }
    assert_eq!(HEAT.factor(i64::MIN), 0);
    assert_eq!(HEAT.factor(i64::MAX), MAX_FACTOR);
}
