//! Any checkpoint, or any payload that is signed. The promises are in `entries`.
#![no_main]

use std::hint::black_box;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    black_box((entries::entry("checkpoint").run)(data));
});
