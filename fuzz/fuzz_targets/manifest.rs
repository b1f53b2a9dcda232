//! A model's manifest. The promises are in `entries/proofs.rs`.
#![no_main]

use std::hint::black_box;

#[expect(dead_code, reason = "each target runs one of its entries")]
#[path = "../entries/proofs.rs"]
mod proofs;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    black_box(proofs::manifest(data));
});
