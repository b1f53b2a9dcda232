//! The fuzz entries on their first inputs and on many changes of them, without coverage: a smoke test of what the fuzz
//! targets run for hours. The number that an input is made from is printed when it fails.
#![expect(clippy::print_stdout, reason = "what a failed test needs to be repeated")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use self::entries::mutate::mutated;
use self::entries::{ENTRIES, entry};

#[expect(unreachable_pub, reason = "for the fuzz targets they are a crate")]
#[path = "../../../../fuzz/entries/lib.rs"]
mod entries;

const INPUTS: u64 = 20_000;
const SEED: u64 = 2026;

/// Every first input is accepted, and no change of one breaks a promise. `least` changed ones are accepted too, so that it is
/// known that they get deep.
fn check(name: &str, least: u64) {
    let entry = entry(name);
    let seeds = (entry.seeds)();
    for (number, seed) in seeds.iter().enumerate() {
        assert!((entry.run)(seed), "{name}: first input {number} is refused");
    }
    let mut accepted = 0;
    for number in 0..INPUTS {
        let input = mutated(&mut (SEED ^ number << 20), &seeds);
        match catch_unwind(AssertUnwindSafe(|| (entry.run)(&input))) {
            Ok(is_accepted) => accepted += u64::from(is_accepted),
            Err(failure) => {
                println!("{name}: seed {SEED}, input {number}: {input:02x?}");
                resume_unwind(failure);
            }
        }
    }
    println!(
        "{name}: {} first inputs, {INPUTS} changed ones from seed {SEED}, {accepted} accepted",
        seeds.len()
    );
    assert!(accepted >= least, "{name}: only {accepted} of the changed inputs are accepted");
}

#[test]
fn requests() {
    check("request", 100);
}

#[test]
fn stop_sequences() {
    check("stop", 10_000);
}

#[test]
fn events() {
    check("sse", 100);
}

#[test]
fn api_keys() {
    check("api_keys", 100);
}

#[test]
fn link_messages() {
    check("link", 100);
}

#[test]
fn lease_messages() {
    check("lease", 100);
}

#[test]
fn records() {
    check("record", 100);
}

#[test]
fn segments() {
    check("segment", 50);
}

#[test]
fn tokenizer_files() {
    check("tokenizer_file", 100);
}

#[test]
fn receipts() {
    check("receipt", 100);
}

#[test]
fn checkpoints() {
    check("checkpoint", 100);
}

#[test]
fn beacons() {
    check("beacon", 100);
}

#[test]
fn epoch_files() {
    check("epoch_file", 100);
}

#[test]
fn inclusion_proofs() {
    check("inclusion", 100);
}

#[test]
fn whitelists() {
    check("whitelist", 100);
}

#[test]
fn every_entry_has_its_test() {
    let text = include_str!("fuzz.rs");
    for entry in &ENTRIES {
        assert!(text.contains(&format!("check(\"{}\",", entry.name)), "{}", entry.name);
    }
}
