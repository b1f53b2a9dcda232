//! How soon a cheat is picked: over seeded runs of a simulated server, against the closed form.

use gateway::sampling::{AuditPolicy, AuditSampler, PPB, REFERENCE_TOKENS};
use protocol::ClaimDigest;

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
