//! Fuzzing without coverage, for tests: an entry on its first inputs and on many changes of them. The number that an input is made from is
//! printed when it fails. Must not know what the bytes mean.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::mutate::mutated;

/// What all inputs are made from.
pub const SEED: u64 = 2026;

/// An entry under test.
pub struct Changed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Says whether the bytes were accepted; panics where a promise is broken.
    pub run: fn(&[u8]) -> bool,
    /// First inputs.
    pub seeds: &'a [Vec<u8>],
    /// Changed ones.
    pub inputs: u64,
    /// So many of them are accepted, so that it is known that they get deep.
    pub least: u64,
}

impl Changed<'_> {
    /// Every first input is accepted, and no change of one breaks a promise.
    pub fn check_all(&self) {
        for (number, seed) in self.seeds.iter().enumerate() {
            assert!((self.run)(seed), "{}: first input {number} is not accepted", self.name);
        }
        self.check();
    }

    /// No change of a first input breaks a promise.
    #[expect(clippy::print_stdout, reason = "what a failed test needs to be repeated")]
    pub fn check(&self) {
        let Changed { name, run, seeds, inputs, least } = *self;
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
}
