//! The fuzz entries of checks on their first inputs and on many changes of them, without coverage: a smoke test of what
//! the fuzz targets run for hours. The number that an input is made from is printed when it fails.
#![expect(clippy::print_stdout, reason = "what a failed test needs to be repeated")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use self::mutate::mutated;

#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/disputes.rs"]
mod disputes;
#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/mutate.rs"]
mod mutate;

const SEED: u64 = 2026;

/// Every first input is accepted, and no change of one breaks a promise.
fn check(name: &str, inputs: u64, run: fn(&[u8]) -> bool, seeds: &[Vec<u8>], least: u64) {
    let mut accepted = 0;
    for number in 0..inputs {
        let input = mutated(&mut (SEED ^ number << 20), seeds);
        match catch_unwind(AssertUnwindSafe(|| run(&input))) {
            Ok(is_accepted) => accepted += u64::from(is_accepted),
            Err(failure) => {
                println!("{name}: seed {SEED}, input {number}: {input:02x?}");
                resume_unwind(failure);
            }
        }
    }
    println!(
        "{name}: {} first inputs, {inputs} changed ones from seed {SEED}, {accepted} accepted",
        seeds.len()
    );
    assert!(accepted >= least, "{name}: only {accepted} of the changed inputs are accepted");
}

#[test]
fn openings() {
    let seeds = disputes::openings();
    assert!(seeds.iter().all(|seed| disputes::opening(seed)));
    check("opening", 100_000, disputes::opening, &seeds, 5000);
}

#[test]
fn disputes_of_any_answers() {
    let seeds = disputes::disputes();
    let decided = seeds.iter().filter(|seed| disputes::dispute(seed)).count();
    assert_eq!(decided, seeds.len() - 1, "all but the one about an output are decided by a number");
    check("dispute", 20_000, disputes::dispute, &seeds, 100);
}

#[test]
fn answers_to_a_challenge() {
    let seeds = disputes::challenges();
    assert!(seeds.iter().all(|seed| disputes::challenge(seed)));
    check("challenge", 20_000, disputes::challenge, &seeds, 100);
}
