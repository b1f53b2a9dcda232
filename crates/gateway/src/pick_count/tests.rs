//! The tail against binomials computed elsewhere, and the alarm over seeded epochs, honest and not.

use super::*;
use crate::sampling::{AuditPolicy, AuditSampler};
use protocol::ClaimDigest;

fn check(answers: usize, rate_ppb: u64, picked: u64, expected: f64) {
    let found = improbability(&vec![rate_ppb; answers], picked).probability;
    assert!(
        (found / expected - 1.0).abs() < 1e-6,
        "{found:e} for {picked} of {answers}, expected {expected:e}"
    );
}

/// Twice the smaller tail of the binomial, from Python's `fractions`: exact sums of `comb(n, k) p^k (1-p)^(n-k)`.
#[test]
fn small_epochs_are_summed_up_exactly() {
    check(10, PPB / 2, 0, 2.0 / 1024.0);
    check(10, PPB / 2, 10, 2.0 / 1024.0);
    check(10, PPB / 2, 1, 22.0 / 1024.0);
    check(100, PPB / 10, 0, 2.0 * 0.9_f64.powi(100));
    check(200, PPB / 10, 3, TWO_HUNDRED_AND_THREE);
    check(1, PPB / 10, 1, 0.2);
    check(3, PPB, 3, 1.0);
    assert_eq!(improbability(&[], 0).probability, 1.0);
    assert_eq!(improbability(&[], 1).probability, 0.0);
    assert_eq!(improbability(&[PPB], 0).probability, 0.0);
    // Two different coins: both miss with 3/4 * 1/2.
    let mixed = improbability(&[PPB / 4, PPB / 2], 0);
    assert!((mixed.probability - 0.75).abs() < 1e-12 && (mixed.expected - 0.75).abs() < 1e-12);
}

/// `2 * sum(comb(200, k) * 0.1**k * 0.9**(200 - k) for k in range(4))` in exact fractions.
const TWO_HUNDRED_AND_THREE: f64 = 0.000_002_921_575_035_363;

#[test]
fn the_bound_is_never_below_the_sum() {
    for (answers, rate) in [(1000_usize, 0.1), (500, 0.5), (2000, 0.01)] {
        let rates = vec![rate; answers];
        let mean = answers as f64 * rate;
        for k in 0..mean as u64 {
            let (sum, bound) = (lower_tail(&rates, k), hoeffding(&rates, k));
            assert!(bound >= sum * (1.0 - 1e-9), "{k} of {answers} at {rate}: {bound:e} < {sum:e}");
        }
        assert_eq!(hoeffding(&rates, mean as u64 + 1), 1.0);
    }
    // Large epochs take the bound: 1,000,000 answers at a tenth, 98,000 picks are 6.7 standard deviations off.
    let large = vec![PPB / 10; 1_000_000];
    assert!(improbability(&large, 98_000).probability < ALPHA);
    assert!(improbability(&large, 99_700).probability > 0.1);
    assert!(improbability(&large, 102_000).probability < ALPHA);
}

/// Rates as a gateway has them: by cost, with a floor.
fn epoch(seed: u64, answers: u64) -> (Vec<u64>, u64) {
    let policy = AuditPolicy { rate_ppb: PPB / 10, floor_ppb: PPB / 50 };
    let sampler = AuditSampler::new(*blake3::hash(&seed.to_le_bytes()).as_bytes(), policy);
    let (mut rates, mut picked) = (Vec::new(), 0);
    for answer in 0..answers {
        let digest = blake3::hash(&[seed.to_le_bytes(), answer.to_le_bytes()].concat());
        let tokens = 16 + u64::from(digest.as_bytes()[0]) * 2;
        rates.push(policy.rate_ppb(tokens));
        picked += u64::from(sampler.picks(&ClaimDigest::from_bytes(*digest.as_bytes()), tokens));
    }
    (rates, picked)
}

/// The alarm at ALPHA can't be measured, so the same test is measured at levels where it can be.
#[test]
fn honest_epochs_raise_no_more_alarms_than_stated() {
    const EPOCHS: u64 = 4_000;
    let found: Vec<f64> = (0..EPOCHS)
        .map(|seed| {
            let (rates, picked) = epoch(seed, 300);
            improbability(&rates, picked).probability
        })
        .collect();
    for alpha in [0.1, 0.01, 0.001] {
        let alarms = found.iter().filter(|probability| **probability < alpha).count() as f64;
        let most = EPOCHS as f64 * alpha;
        println!("seeds 0 to 3999: {alarms} alarms at {alpha}, at most {most} stated");
        assert!(alarms <= most + 4.0 * most.sqrt(), "{alarms} alarms at {alpha}");
    }
    assert!(found.iter().all(|probability| *probability >= ALPHA));
}

/// Whoever knows the key lets only those answers through whose coin says no, in so many of a hundred cases.
#[test]
fn answers_that_are_chosen_by_their_coins_are_noticed() {
    let caught = |steered: u64| {
        let alarms = (0..200_u64).filter(|seed| {
            let (rates, picked) = epoch(*seed, 1000);
            improbability(&rates, picked - picked * steered / 100).probability < ALPHA
        });
        alarms.count()
    };
    let (all, half, tenth) = (caught(100), caught(50), caught(10));
    println!(
        "seeds 0 to 199, 1000 answers: caught {all} with all, {half} with half, {tenth} with a tenth steered"
    );
    assert_eq!((all, tenth), (200, 0));
    assert!(half >= 150, "{half}");
}
