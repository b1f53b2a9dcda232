//! See `profile` in `entries/meters.rs`, where the promises are.
#![no_main]

use std::hint::black_box;

#[expect(dead_code, reason = "each target runs one of its entries")]
#[path = "../entries/meters.rs"]
mod meters;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    black_box(meters::profile(data));
});
