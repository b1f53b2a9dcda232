//! Tests of the energy check: each attack and its near miss.

use super::*;
use crate::sensors::SECOND_NS;

fn key() -> ProfileKey {
    ProfileKey { model: "m".to_owned(), device: "d".to_owned(), count: 8, engine: "e".to_owned() }
}

fn energy(joules: f64, seconds: u64) -> Energy {
    Energy { joules, sigma: 0.01 * joules, window_ns: seconds * SECOND_NS, gap_ns: 0, updates: seconds }
}

/// Idle 2000 W; 0.2 J a token at batch 8, 0.1 at 128.
fn profile() -> Profile {
    let window = |batch, tokens, wobble: f64| Calibration {
        batch,
        tokens,
        energy: energy(2_000.0 * 60.0 + tokens * if batch < 100.0 { 0.2 } else { 0.1 } * wobble, 60),
    };
    let windows: Vec<Calibration> = [0.98, 0.99, 1.0, 1.01, 1.02]
        .iter()
        .flat_map(|wobble| [window(8.0, 400_000.0, *wobble), window(128.0, 1_500_000.0, *wobble)])
        .collect();
    Profile::calibrate(key(), Quantity::Energy, 2_000.0, 20.0, &windows).unwrap()
}

fn nats(claimed_tokens: f64, batch: f64, above_idle: f64) -> f64 {
    let measured = energy(2_000.0 * 60.0 + above_idle, 60);
    let outcome = profile().judge(ClaimedWork { batch, tokens: claimed_tokens }, &measured);
    assert!(matches!(outcome, Outcome::Evidence(_)), "{outcome:?}");
    outcome.nats()
}

#[test]
fn honest_claims_pass_and_others_do_not() {
    assert!(nats(1_500_000.0, 128.0, 150_000.0) > 1.5);
    // Near misses: a warmer room, a slower fan.
    assert!(nats(1_500_000.0, 128.0, 155_000.0) > 1.0 && nats(1_500_000.0, 128.0, 145_000.0) > 1.0);
    // Attacks: twice the tokens claimed, half the tokens claimed, a scaled trace, an idle machine.
    assert!(nats(3_000_000.0, 128.0, 150_000.0) < -2.0);
    assert!(nats(750_000.0, 128.0, 150_000.0) < -2.0);
    assert!(nats(1_500_000.0, 128.0, 0.7 * 150_000.0) < -1.0);
    assert!(nats(1_500_000.0, 128.0, 0.0) < -2.0);
}

#[test]
fn the_right_joules_on_wrong_work_pass_and_cost_as_much() {
    // Stated limit: constant filler that burns what the claim needs is not told by energy, and saves nothing.
    assert!(nats(1_500_000.0, 128.0, 150_000.0) > 1.5);
    assert!(nats(1_500_000.0, 128.0, 0.6 * 150_000.0) < -1.5);
}

#[test]
fn batch_is_part_of_the_claim() {
    // What batch 8 costs, claimed at batch 128.
    assert!(nats(1_000_000.0, 128.0, 200_000.0) < -1.0);
    assert!(nats(1_000_000.0, 8.0, 200_000.0) > 1.0);
    let between = profile().joules_per_token(32.0).unwrap().0;
    assert!((between - 0.15).abs() < 1e-6);
}

#[test]
fn what_says_nothing_is_undecided() {
    let profile = profile();
    let claim = ClaimedWork { batch: 128.0, tokens: 1_000.0 };
    let check = |claim, energy: Energy, missing| {
        assert_eq!(profile.judge(claim, &energy), Outcome::Undecided(missing))
    };
    check(claim, Energy { updates: 9, ..energy(100.0, 9) }, Missing::Updates { had: 9 });
    check(claim, Energy { gap_ns: 16 * SECOND_NS, ..energy(100.0, 60) }, Missing::Coverage);
    check(ClaimedWork { batch: 4_000.0, ..claim }, energy(100.0, 60), Missing::Batch);
    check(ClaimedWork { batch: f64::NAN, ..claim }, energy(100.0, 60), Missing::Batch);
    check(ClaimedWork { tokens: 0.0, ..claim }, energy(100.0, 60), Missing::Work);
    check(ClaimedWork { tokens: f64::NAN, ..claim }, energy(100.0, 60), Missing::Work);
    check(claim, energy(f64::NAN, 60), Missing::Coverage);
    // Ten updates are enough.
    assert!(matches!(profile.judge(claim, &energy(20_100.0, 10)), Outcome::Evidence(_)));
}

#[test]
fn no_window_outweighs_everything() {
    assert_eq!(nats(1_500_000.0, 128.0, 1e12), -NATS_MAX);
}

#[test]
fn nothing_to_calibrate_from() {
    let short = Calibration { batch: 8.0, tokens: 100.0, energy: energy(1e6, 5) };
    assert_eq!(
        Profile::calibrate(key(), Quantity::Energy, 2_000.0, 1.0, &[short]),
        Err(Error::TooFew("a profile"))
    );
}
