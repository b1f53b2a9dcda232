//! The fast sampler and fingerprint equal the plain ones, and draws follow their distribution.

use std::collections::BTreeSet;

use engine::fingerprint::Fingerprinter;
use engine::sampler::TokenSampler;
use model::fingerprint::{fingerprint, powers};
use model::ops::sampling::sample;
use model::tables::exp_sampler;
use proptest::prelude::*;
use protocol::fingerprint::FingerprintPoint;
use protocol::settings::SamplingSettings;

fn settings() -> impl Strategy<Value = SamplingSettings> {
    let temperature = prop_oneof![Just(0_u32), 10..100_000_u32, 500..1500_u32];
    let top_p = prop_oneof![Just(1_000_000_u32), 1..1_000_000_u32];
    let min_p = prop_oneof![Just(0_u32), 0..1_000_000_u32];
    let penalty = prop_oneof![Just(1000_u32), 100..10_000_u32];
    (temperature, 0..50_u32, top_p, min_p, penalty).prop_map(|(temperature, top_k, top_p, min_p, penalty)| {
        let mut settings = SamplingSettings::greedy();
        settings.temperature_milli = temperature;
        settings.top_k = top_k;
        settings.top_p_ppm = top_p;
        settings.min_p_ppm = min_p;
        settings.repetition_penalty_milli = penalty;
        settings
    })
}

proptest! {
    #[test]
    fn sampler_equals_its_meaning(
        logits in prop::collection::vec(-(1_i64 << 36)..1 << 36, 1..300),
        settings in settings(),
        draw in any::<u64>(),
        exponent in 20..34_i32,
        seen in prop::collection::btree_set(0..300_u32, 0..20),
    ) {
        let expected = sample(&logits, exponent, &settings, &seen, draw, &exp_sampler());
        let found = TokenSampler::new(exponent).sample(&logits, &settings, &seen, draw);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn fingerprint_equals_its_meaning(
        logits in prop::collection::vec(prop_oneof![any::<i64>(), -(1_i64 << 40)..1 << 40], 0..200),
        c0 in 0..0xffff_ffff_0000_0001_u64,
        c1 in 0..0xffff_ffff_0000_0001_u64,
    ) {
        let point = FingerprintPoint::new(c0, c1).expect("below p");
        let expected = fingerprint(&logits, &powers(&point, logits.len()));
        prop_assert_eq!(Fingerprinter::new(&point, logits.len()).fingerprint(&logits), expected);
    }
}

/// Chi-square of 20,000 draws against e^(l/T): a sampler that favours an id by a few per cent fails.
#[test]
fn draws_follow_the_distribution() {
    let exponent = 30;
    let real = [0.0_f64, 1.0, -1.0, 2.5, 2.5, -4.0, 0.3];
    let logits: Vec<i64> = real.iter().map(|l| (l * f64::from(1 << exponent)).round() as i64).collect();
    let mut settings = SamplingSettings::greedy();
    settings.temperature_milli = 1300;
    let sampler = TokenSampler::new(exponent);
    let seed = protocol::id::Seed::from_bytes([42; 32]);
    let draws = 20_000;
    let mut counts = [0_u32; 7];
    for position in 0..draws {
        let draw = protocol::seed::draw_u64(&seed, position);
        counts[sampler.sample(&logits, &settings, &BTreeSet::new(), draw) as usize] += 1;
    }
    let total: f64 = real.iter().map(|l| (l / 1.3).exp()).sum();
    let chi_square: f64 = real
        .iter()
        .zip(counts)
        .map(|(l, count)| {
            let expected = (l / 1.3).exp() / total * f64::from(u32::try_from(draws).unwrap());
            (f64::from(count) - expected).powi(2) / expected
        })
        .sum();
    // 99.9% quantile for 6 degrees of freedom: 22.46 (the draws are fixed by the seed, so this can't flicker).
    assert!(chi_square < 22.46, "chi-square {chi_square}, counts {counts:?}");
}
