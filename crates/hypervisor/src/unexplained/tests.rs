//! Tests of the ledger of unexplained joules: mining beside inference is caught, honest noise is not.

use super::*;
use crate::sensors::{Quantity, SECOND_NS};
use crate::thermo::{Calibration, ProfileKey};

fn energy(watts: f64) -> Energy {
    let joules = watts * 60.0;
    Energy { joules, sigma: 0.01 * joules, window_ns: 60 * SECOND_NS, gap_ns: 0, updates: 60 }
}

fn profile() -> Profile {
    let key = ProfileKey { model: "m".to_owned(), device: "d".to_owned(), count: 1, engine: "e".to_owned() };
    let window = Calibration { batch: 8.0, tokens: 60_000.0, energy: energy(100.0 + 300.0) };
    Profile::calibrate(key, Quantity::Energy, 100.0, 1.0, &[window; 10]).unwrap()
}

/// Windows until the alarm, out of 200; noise of 1 % from a fixed generator.
fn windows_until_alarm(claimed: bool, beside_watts: f64) -> Option<u32> {
    let profile = profile();
    let mut ledger = Unexplained::default();
    let mut state = 7_u32;
    (1..=200).find(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(state >> 16) / 65_536.0 - 0.5;
        let claim = (&profile, ClaimedWork { batch: 8.0, tokens: 60_000.0 });
        let claims = if claimed { std::slice::from_ref(&claim) } else { &[] };
        let watts = 100.0 + if claimed { 300.0 } else { 0.0 } + beside_watts + 12.0 * noise;
        ledger.book(&profile, claims, &energy(watts)) == Alarm::Unexplained
    })
}

#[test]
fn mining_beside_inference_is_caught() {
    assert!(windows_until_alarm(true, 60.0).is_some_and(|windows| windows <= 10));
    assert!(windows_until_alarm(false, 60.0).is_some_and(|windows| windows <= 10));
}

#[test]
fn honest_noise_and_idle_are_not() {
    assert_eq!(windows_until_alarm(true, 0.0), None);
    assert_eq!(windows_until_alarm(false, 0.0), None);
}

#[test]
fn one_broken_window_is_no_alarm() {
    let profile = profile();
    let mut ledger = Unexplained::default();
    assert_eq!(ledger.book(&profile, &[], &energy(700.0)), Alarm::Quiet);
    assert_eq!(ledger.book(&profile, &[], &energy(f64::NAN)), Alarm::Quiet);
    assert_eq!((ledger.windows, ledger.unknown), (1, 1));
}
