//! Loads that differ are told apart across runs, loads that do not are not, and what was never seen is nothing.

use super::*;
use crate::features::of_window;
use crate::sensors::{Limits, PowerSample, PowerTrace, RawSample, SECOND_NS};

fn noise(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f64 / (1_u64 << 24) as f64 - 0.5
}

fn window(watts: impl Fn(f64, f64) -> f64, seed: u64) -> Features {
    let mut state = seed;
    let raw = (0..60_u64).map(|s| {
        let watts = watts(s as f64, noise(&mut state));
        RawSample { at_ns: s * SECOND_NS, watts, celsius: None }
    });
    let samples: Vec<PowerSample> = PowerTrace::judge("test", raw, Limits::SERVER).samples;
    of_window(&samples, 0, 60 * SECOND_NS, 100.0).unwrap()
}

fn examples(training: impl Fn(f64, f64) -> f64 + Copy) -> Vec<Example> {
    let mut examples = Vec::new();
    for run in 0..4_u64 {
        for at in 0..10 {
            let seed = run * 100 + at;
            let mut push = |class, features| {
                examples.push(Example { class, run: format!("{class:?} {run}"), features });
            };
            push(Class::LlmInference, window(|_, noise| 400.0 + 8.0 * noise, seed));
            push(Class::Training, window(training, seed + 50));
        }
    }
    examples
}

#[test]
fn features_are_those_of_the_definition() {
    let wave = window(|s, _| 200.0 + 50.0 * (std::f64::consts::TAU * s / 20.0).sin(), 1);
    // Level against idle; three waves in the window are of the slow band, and all of it.
    assert!((wave[0] - 2.0).abs() < 0.01 && (wave[1] - 0.25 / 2.0_f64.sqrt()).abs() < 0.01);
    assert!(wave[8] > 0.99 && wave[10] < 0.01 && wave[11] < 0.1);
    let flat = window(|_, _| 300.0, 1);
    assert_eq!((flat[0], flat[1], flat[4]), (3.0, 0.0, 0.0));
}

#[test]
fn runs_that_were_not_seen_are_told_apart() {
    let found =
        evaluate(&examples(|s, noise| if s % 10.0 < 3.0 { 150.0 } else { 420.0 } + 8.0 * noise), 1).unwrap();
    assert!(found.balanced_accuracy() > 0.95, "{:?}", found.confusion);
    assert!(found.curve(Class::Training, &[Class::LlmInference]).area > 0.99);
    assert!(found.cap_nats(Class::Training) > 1.0);
}

#[test]
fn the_same_load_under_two_names_is_worth_nothing() {
    let found = evaluate(&examples(|_, noise| 400.0 + 8.0 * noise), 1).unwrap();
    assert!(found.balanced_accuracy() < 0.7, "{:?}", found.confusion);
    assert!(found.cap_nats(Class::Training) < 0.5);
}

#[test]
fn what_is_like_nothing_seen_is_nothing() {
    let classifier =
        Classifier::train(&examples(|s, _| if s % 10.0 < 3.0 { 150.0 } else { 420.0 }), 1).unwrap();
    let strange = window(|s, noise| if s < 30.0 { 2_000.0 } else { 100.0 } + noise, 3);
    assert_eq!(classifier.judge(&strange).class, None);
    let known = window(|_, noise| 400.0 + 8.0 * noise, 999);
    assert_eq!(classifier.judge(&known).class, Some(Class::LlmInference));
}

#[test]
fn intervals_are_wilsons() {
    // By Wilson's formula for 8 of 10 and for 0 of 100, as tables give it.
    let (least, most) = interval(8, 10);
    assert!((least - 0.490).abs() < 0.002 && (most - 0.943).abs() < 0.002);
    assert!((interval(0, 100).1 - 0.037).abs() < 0.001 && interval(0, 0) == (0.0, 1.0));
}

#[test]
fn windows_with_holes_have_no_features() {
    let samples: Vec<PowerSample> = PowerTrace::judge(
        "test",
        (0..60).filter(|s| !(10..30).contains(s)).map(|s| RawSample {
            at_ns: s * SECOND_NS,
            watts: 100.0,
            celsius: None,
        }),
        Limits::SERVER,
    )
    .samples;
    assert_eq!(of_window(&samples, 0, 60 * SECOND_NS, 100.0), None);
    assert_eq!(of_window(&[], 0, 60 * SECOND_NS, 100.0), None);
}
