//! Identifiers as text. Must not depend on what an identifier identifies.

use protocol::{Error, Nonce};

use crate::samples::{counting, nonce};

const DIGITS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
fn text_is_64_hexadecimal_digits() {
    assert_eq!(nonce().to_string(), DIGITS);
    assert_eq!(format!("{:?}", nonce()), format!("Nonce({DIGITS})"));
    assert_eq!(DIGITS.parse::<Nonce>(), Ok(nonce()));
    assert_eq!(DIGITS.to_uppercase().parse::<Nonce>(), Ok(nonce()));
    assert_eq!(nonce().as_bytes(), &counting(0));
}

#[test]
fn other_text_is_refused() {
    for (text, length) in
        [("", 0), (&DIGITS[1..], 63), (&DIGITS[2..], 62), (&format!("{DIGITS}00") as &str, 66)]
    {
        assert_eq!(text.parse::<Nonce>(), Err(Error::HexLength { kind: "Nonce", length }));
    }
    assert_eq!(DIGITS.replace('a', "g").parse::<Nonce>(), Err(Error::HexDigit { kind: "Nonce" }));
    assert_eq!("é".repeat(32).parse::<Nonce>(), Err(Error::HexDigit { kind: "Nonce" }));
}
