//! Decimals against values computed by hand; never against the parser itself.

use super::{milli, ppm};

#[test]
fn decimals_are_exact() {
    for (text, expected) in [("0", 0), ("0.8", 800), ("1", 1000), ("1.25", 1250), (".5", 500), ("2.", 2000)] {
        assert_eq!(milli(text), Ok(expected), "{text}");
    }
    for (text, expected) in [("0.95", 950_000), ("1.000000", 1_000_000), ("0.000001", 1), ("0.10", 100_000)] {
        assert_eq!(ppm(text), Ok(expected), "{text}");
    }
    assert_eq!(milli("000.0010"), Ok(1));
    assert_eq!(milli("0.80000"), Ok(800));
}

#[test]
fn anything_else_is_refused() {
    for text in ["", ".", "-1", "+1", "1e3", "0x1", "1,5", " 1", "1 ", "nan", "inf", "1.2.3", "٣"] {
        assert!(milli(text).is_err(), "{text:?}");
    }
    assert!(milli("0.0001").is_err(), "a ten-thousandth is no thousandth");
    assert!(ppm("0.0000001").is_err());
    assert!(milli("4294968").is_err(), "beyond 32 bits");
    assert!(milli("99999999999999999999").is_err());
    assert!(ppm("999999").is_err(), "beyond 32 bits");
}
