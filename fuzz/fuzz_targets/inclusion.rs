//! Any proof that an answer is in an epoch. The promises are in `entries`.
#![no_main]

use std::hint::black_box;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    black_box((entries::entry("inclusion").run)(data));
});
