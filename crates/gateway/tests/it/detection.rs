//! How soon a cheat is picked: over seeded runs of a simulated server, against the closed form.

use gateway::sampling::{AuditPolicy, AuditSampler, PPB, REFERENCE_TOKENS, beacon_picks};
use protocol::checkpoint::{Beacon, EpochTerms, Leaf, ModelFloor};
use protocol::{CheckpointDigest, ClaimDigest, KeyId, ModelCommitment};

const RUNS: u64 = 2_000;
/// One in ten answers of the reference length is picked.
const EPS: f64 = 0.1;
const POLICY: AuditPolicy = AuditPolicy { rate_ppb: PPB / 10, floor_ppb: PPB / 10 };

/// Cheated answers until one is picked, on a server that cheats in one of `every` answers. Every cheated answer that
/// is picked is caught: replay is exact.
fn cheated_until_caught(run: u64, every: u64) -> u64 {
    let sampler = AuditSampler::new(*blake3::hash(&run.to_le_bytes()).as_bytes(), POLICY);
    let mut cheated = 0;
    for answer in 0.. {
        if answer % every != 0 {
            continue;
        }
        cheated += 1;
        let digest = blake3::hash(&[run.to_le_bytes(), answer.to_le_bytes()].concat());
        if sampler.picks(&ClaimDigest::from_bytes(*digest.as_bytes()), REFERENCE_TOKENS) {
            break;
        }
    }
    cheated
}

/// Geometric: mean 1 / eps, and P(caught within X) = 1 - (1 - eps)^X, whatever share of the answers is cheated.
#[test]
fn time_to_alarm_follows_the_closed_form() {
    for every in [1, 7] {
        let counts: Vec<u64> = (0..RUNS).map(|run| cheated_until_caught(run, every)).collect();
        let runs = RUNS as f64;
        let mean = counts.iter().sum::<u64>() as f64 / runs;
        let deviation = (1.0 - EPS).sqrt() / EPS;
        assert!((mean - 1.0 / EPS).abs() < 4.0 * deviation / runs.sqrt(), "mean {mean}");
        for x in [1, 5, 10, 22, 44] {
            let expected = 1.0 - (1.0 - EPS).powi(x);
            let caught = counts.iter().filter(|count| **count <= x as u64).count() as f64 / runs;
            let error = (expected * (1.0 - expected) / runs).sqrt();
            assert!((caught - expected).abs() < 4.0 * error, "{caught} within {x}, expected {expected}");
        }
        println!("{RUNS} runs, one in {every} answers cheated: caught after {mean:.2} of them on average");
    }
}

/// Whoever holds the audit key cheats only where the first lottery does not look. The beacon is drawn after the answers are
/// bound, so it catches one of X such answers with 1 - (1 - eps)^X, as if there were no key to know.
#[test]
fn who_knows_the_first_lottery_is_caught_by_the_second_as_often_as_the_closed_form_says() {
    let terms = EpochTerms {
        gateway: KeyId::from_bytes([1; 32]),
        epoch: 0,
        audit_key: [0; 32],
        seed_key: [0; 32],
        rate_ppb: POLICY.rate_ppb,
        models: vec![ModelFloor { model: ModelCommitment::from_bytes([1; 32]), floor_ppb: POLICY.floor_ppb }],
        beacon_party: None,
        previous: None,
    };
    for cheated in [1_usize, 7, 22, 44] {
        let (mut first, mut second) = (0_u64, 0_u64);
        for run in 0..RUNS {
            let key = *blake3::hash(&run.to_le_bytes()).as_bytes();
            let sampler = AuditSampler::new(key, POLICY);
            let digest = |answer: u64| {
                let digest = blake3::hash(&[run.to_le_bytes(), answer.to_le_bytes()].concat());
                ClaimDigest::from_bytes(*digest.as_bytes())
            };
            let unseen = (0..).map(digest).filter(|claim| !sampler.picks(claim, REFERENCE_TOKENS));
            let wrong: Vec<Leaf> = (0..)
                .zip(unseen)
                .map(|(tag, claim)| Leaf {
                    tag,
                    model: 0,
                    claim,
                    cost_tokens: REFERENCE_TOKENS,
                    picked: false,
                })
                .take(cheated)
                .collect();
            first += u64::from(wrong.iter().any(|leaf| sampler.picks(&leaf.claim, leaf.cost_tokens)));
            let value = *blake3::hash(&[b"beacon".as_slice(), &run.to_le_bytes()].concat()).as_bytes();
            let beacon = Beacon { epoch: 0, checkpoint: CheckpointDigest::from_bytes(key), value };
            second += u64::from(wrong.iter().any(|leaf| beacon_picks(&beacon, &terms, leaf)));
        }
        let expected = 1.0 - (1.0 - EPS).powi(i32::try_from(cheated).expect("a small number"));
        let (caught, runs) = (second as f64 / RUNS as f64, RUNS as f64);
        let error = (expected * (1.0 - expected) / runs).sqrt();
        println!(
            "{RUNS} runs, {cheated} steered answers: first lottery {first}, second {second}, {expected:.3} expected"
        );
        assert_eq!(first, 0);
        assert!((caught - expected).abs() < 4.0 * error, "{caught} of {cheated}, expected {expected}");
    }
}
