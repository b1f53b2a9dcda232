//! The fuzz entries of the node on their first inputs and on many changes of them, without coverage: a smoke test of what the
//! fuzz targets run for hours. The number that an input is made from is printed when it fails.
#![expect(clippy::print_stdout, reason = "what a failed test needs to be repeated")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use self::mutate::mutated;

#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/meters.rs"]
mod meters;
#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/mutate.rs"]
mod mutate;

const SEED: u64 = 2026;
const INPUTS: u64 = 20_000;

/// Every first input is accepted, and no change of one breaks a promise.
fn check(name: &str, run: fn(&[u8]) -> bool, seeds: &[Vec<u8>]) {
    for (number, seed) in seeds.iter().enumerate() {
        assert!(run(seed), "{name}: first input {number} is not accepted");
    }
    let mut accepted = 0;
    for number in 0..INPUTS {
        let input = mutated(&mut (SEED ^ number << 20), seeds);
        match catch_unwind(AssertUnwindSafe(|| run(&input))) {
            Ok(is_accepted) => accepted += u64::from(is_accepted),
            Err(failure) => {
                println!("{name}: seed {SEED}, input {number}: {}", String::from_utf8_lossy(&input));
                resume_unwind(failure);
            }
        }
    }
    println!("{name}: {INPUTS} changed inputs from seed {SEED}, {accepted} accepted");
    assert!(accepted > 50, "{name}: only {accepted} of the changed inputs are accepted");
}

#[test]
fn power_logs() {
    check("power_log", meters::power_log, &meters::power_logs());
}

#[test]
fn exporters() {
    check("exporter", meters::exporter, &meters::exporters());
}

#[test]
fn profiles() {
    check("profile", meters::profile, &meters::profiles());
}

#[test]
fn node_lines() {
    check("node_line", meters::node_line, &meters::node_lines());
}

#[test]
fn ledger_entries() {
    check("entry", meters::entry, &meters::entries());
}
