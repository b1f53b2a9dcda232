//! Draws are as likely as they say, repeatable, and nothing that was drawn waits for ever.

use std::collections::BTreeSet;

use model::synthetic::SplitMix64;
use protocol::id::ClaimDigest;

use super::{Retained, WHOLE_PPB, Waiting, chance_ppb, is_drawn, round};

fn seed(number: u64) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    seed
}

fn claim(number: u64) -> Retained {
    let digest = ClaimDigest::from_bytes(seed(number));
    Retained { claim: digest, cost_us: 100, value: 1, suspicion: 1 }
}

#[test]
fn every_claim_is_drawn_as_often_as_its_chance() {
    let floor = WHOLE_PPB / 100;
    for (value, suspicion, expected) in
        [(1, 1, 0.01), (5, 1, 0.05), (5, 4, 0.2), (1000, 1000, 1.0), (0, 0, 0.01)]
    {
        let trials = 20_000;
        let drawn =
            (0..trials).filter(|n| is_drawn(&seed(1), floor, &Retained { value, suspicion, ..claim(*n) }));
        let rate = drawn.count() as f64 / trials as f64;
        let deviation = (expected * (1.0 - expected) / trials as f64).sqrt();
        assert!((rate - expected).abs() <= 4.0 * deviation, "{value} {suspicion}: {rate}");
    }
    assert_eq!(chance_ppb(0, &claim(0)), 1, "never none");
    assert_eq!(chance_ppb(u64::MAX, &claim(0)), WHOLE_PPB);
}

#[test]
fn another_seed_draws_others() {
    let floor = WHOLE_PPB / 10;
    let of =
        |number| -> Vec<u64> { (0..1000).filter(|n| is_drawn(&seed(number), floor, &claim(*n))).collect() };
    assert_eq!(of(1), of(1));
    let both = of(1).iter().filter(|n| of(2).contains(n)).count();
    assert!(both < 25, "{both} in both, 10 expected");
}

#[test]
fn the_budget_is_kept_and_the_valuable_come_first() {
    let retained: Vec<Retained> = (0..10).map(|n| Retained { value: n, ..claim(n) }).collect();
    let made = round(&seed(1), WHOLE_PPB, &retained, &[], 350);
    assert_eq!(made.replay, [retained[9], retained[8], retained[7]]);
    assert_eq!(made.waiting.len(), 7);
    assert!(made.waiting.iter().all(|waiting| waiting.rounds == 1));
    // Too dear for any budget: alone in its round.
    let dear = Retained { cost_us: 1000, ..claim(3) };
    let made = round(&seed(1), WHOLE_PPB, &[dear], &[], 10);
    assert_eq!((made.replay, made.waiting), (vec![dear], vec![]));
    assert_eq!(round(&seed(1), WHOLE_PPB, &[], &[], 10).replay, []);
}

/// A stream of valuable claims that fills every budget: the cheap old ones are replayed all the same, each once.
#[test]
fn nothing_that_was_drawn_starves() {
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut replayed = BTreeSet::new();
    let mut random = SplitMix64::new(61);
    for number in 0..200_u64 {
        let new: Vec<Retained> = (0..3)
            .map(|n| Retained {
                value: if n == 0 { 1 } else { 900 + random.below(99) },
                ..claim(number * 3 + n)
            })
            .collect();
        // What is retained twice is drawn once.
        let twice: Vec<Retained> = new.iter().chain(&new).copied().collect();
        let budget = if number < 100 { 200 } else { 1000 };
        let made = round(&seed(number), WHOLE_PPB, &twice, &waiting, budget);
        for claim in &made.replay {
            assert!(replayed.insert(claim.claim), "each claim once");
        }
        waiting = made.waiting;
        assert!(waiting.iter().all(|waiting| waiting.rounds < 60));
    }
    assert_eq!((replayed.len(), waiting.len()), (600, 0));
}
