//! The placing of binary points on maxima that are known, and the segments.

use super::*;

#[test]
fn exponents_leave_a_factor_of_two() {
    for (maxima, outliers, acc_exponent, cap, expected) in [
        // 2 * 2^20 at exponent 20 is 2.0: 2^13.99 is the largest below 16 bits.
        (vec![1 << 20], 0, 20, 12, 12),
        (vec![1 << 20], 0, 20, 20, 13),
        // One outlier of 2^28 leaves the usual row's exponent alone while it keeps to 2^23 ..
        (vec![1 << 28, 1 << 20], 1, 20, 20, 13),
        // .. and pulls it down when it doesn't: 2 * 2^36 at 2^20 fits 23 bits at exponent 5.
        (vec![1 << 36, 1 << 20], 1, 20, 20, 5),
        (vec![0, 0], 1, 20, 12, 12),
        // Never finer than the accumulator.
        (vec![1], 0, 7, 12, 7),
    ] {
        let mut rows = maxima.clone();
        let found = choose_exponent(&mut rows, outliers, acc_exponent, cap);
        assert_eq!(found, expected, "{maxima:?} outliers {outliers} at {acc_exponent}, cap {cap}");
    }
}

#[test]
fn residual_exponents_follow_the_largest_value() {
    for (exponent, max, expected) in
        [(14, 1 << 25, 13), (14, (1 << 25) - 1, 14), (14, 1 << 28, 10), (10, 0, 10)]
    {
        assert_eq!(fitting_residual(exponent, max), expected, "{max} at {exponent}");
    }
}

#[test]
fn even_segments_begin_with_bos() {
    let ids: Vec<u32> = (0..2000).collect();
    let cut = segments(&ids, Some(7), 8192);
    assert_eq!(cut.len(), SEGMENTS);
    assert!(cut.iter().all(|s| s.len() == SEGMENT_TOKENS));
    assert_eq!((cut[0][0], cut[0][1], cut[1][0], cut[2][0]), (7, 0, 255, 7));
    assert_eq!(segments(&ids, None, 16)[1][0], 16);
    assert_eq!(segments(&ids[..3], None, 8192), [[0, 1, 2]]);
}

/// The text is frozen: another text would be another model. The hash was taken when it was written.
#[test]
fn text_is_the_one_that_was_frozen() {
    let expected = "0e216084d81b10c01342b936b3c4e926777bbb1086534918c06a8394abed8434";
    assert_eq!(blake3::hash(TEXT.as_bytes()).to_hex().as_str(), expected);
}
