//! Any text with any stop sequences, in any pieces. The promises are in `entries`.
#![no_main]

use std::hint::black_box;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    black_box((entries::entry("stop").run)(data));
});
