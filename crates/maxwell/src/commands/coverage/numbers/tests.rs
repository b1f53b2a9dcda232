//! How numbers of plans are written.

use super::*;

#[test]
fn durations_take_a_unit_that_leaves_few_digits() {
    for (seconds, text) in [
        (0.0, "0 s"),
        (0.004, "4.0e-3 s"),
        (11.51, "11.5 s"),
        (115.1, "115 s"),
        (460.5, "7.7 min"),
        (4605.0, "77 min"),
        (11_513.0, "3.2 h"),
        (46_052.0, "12.8 h"),
        (460_517.0, "5.3 d"),
        (2_302_585.0, "27 d"),
        (1e9, "32 y"),
        (1e30, "3.2e22 y"),
        (f64::INFINITY, "never"),
    ] {
        assert_eq!(duration(seconds), text);
    }
}

#[test]
fn shares_and_chances_keep_what_matters() {
    for (value, text) in [(0.0, "0"), (1.0, "1"), (0.01, "0.01"), (1e-5, "1e-5"), (0.999999, "0.999999")] {
        assert_eq!(share(Probability::new(value).unwrap()), text);
    }
    for (value, text) in [(0.0, "0"), (1.0, "1"), (0.6531, "0.653"), (1e-6, "1.0e-6"), (0.9999, "1 - 1e-4")] {
        assert_eq!(chance(value), text);
    }
    assert_eq!((count(Some(46_050)), count(None)), ("46,050".to_owned(), "no number".to_owned()));
}
