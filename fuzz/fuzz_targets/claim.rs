//! Any bytes as a claim: decoding returns, and what it accepts encodes to the very same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::claim::Claim;

fuzz_target!(|data: &[u8]| {
    let Ok(claim) = Claim::decode(data) else { return };
    assert_eq!(claim.encode(), data, "two encodings of one claim");
    claim.check_shape().expect("decoding checks the shape");
    let _ = claim.contradiction();
    let _ = claim.digest();
});
