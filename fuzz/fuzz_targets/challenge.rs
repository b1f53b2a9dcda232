//! An answer to a challenge. The promises are in `entries/disputes.rs`.
#![no_main]

use std::hint::black_box;

#[expect(dead_code, reason = "each target runs one of its entries")]
#[path = "../entries/disputes.rs"]
mod disputes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    black_box(disputes::challenge(data));
});
