//! Who is caught, who is left alone, and that a run is a function of its seed.

use super::*;

const HOURS: u32 = 1;

fn both(scenario: Scenario, seed: u64) -> (Tally, Tally) {
    let population = scenario.population();
    let governed = governed::run(&population, HOURS, seed).expect("the rules hold");
    (governed, baseline::run(&population, HOURS, seed))
}

#[test]
fn cheats_are_caught_and_honest_agents_are_left_alone() {
    for seed in 1..=5 {
        for scenario in Scenario::ALL {
            let (governed, blind) = both(scenario, seed);
            let name = scenario.name();
            assert_eq!((governed.caught, governed.honest_hurt), (governed.cheats, 0), "{name} {seed}");
            assert!(governed.tokens_per_joule() > blind.tokens_per_joule(), "{name} {seed}");
            let prevented = blind.fraud.checked_sub(governed.fraud).expect("never more than unseen");
            assert!(governed.verification < prevented, "{name} {seed}");
            assert!(governed.throttled_seconds == 0.0, "{name} {seed}");
        }
    }
}

#[test]
fn honest_agents_alone_cost_their_audits_and_nothing_else() {
    let population = Population(vec![(Kind::Honest, 8)]);
    for seed in 1..=20 {
        let tally = governed::run(&population, HOURS, seed).expect("the rules hold");
        assert_eq!((tally.honest_hurt, tally.fraud), (0, 0), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (once, again) = (both(Scenario::Mixed, 7).0, both(Scenario::Mixed, 7).0);
    assert_eq!((once.useful_tokens, once.verification), (again.useful_tokens, again.verification));
    assert_eq!(once.gpu_celsius, again.gpu_celsius);
    assert_ne!(once.verification, both(Scenario::Mixed, 8).0.verification);
}
