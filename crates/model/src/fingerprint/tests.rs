//! Laws of the extension field and of the fingerprint.

use super::*;

#[test]
fn seven_is_no_square_so_the_extension_is_a_field() {
    // Euler's criterion: 7^((p-1)/2) = -1.
    let (mut power, mut base, mut exponent) = (1, NON_RESIDUE, (PRIME - 1) / 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = multiply_base(power, base);
        }
        base = multiply_base(base, base);
        exponent >>= 1;
    }
    assert_eq!(power, PRIME - 1);
}

#[test]
fn multiplication_is_that_of_polynomials_modulo_x_squared_minus_7() {
    assert_eq!(multiply([0, 1], [0, 1]), [7, 0]);
    let (a, b, c) = ([3, PRIME - 5], [1 << 40, 9], [PRIME - 1, 2]);
    assert_eq!(multiply(a, multiply(b, c)), multiply(multiply(a, b), c));
    assert_eq!(multiply(a, b), multiply(b, a));
}

/// (rho - 1) * sum of rho^v = rho^n - 1, and one changed logit changes the fingerprint by its own power.
#[test]
fn fingerprint_of_ones_is_the_geometric_series() {
    let point = FingerprintPoint::new(123_456_789, 987_654_321).expect("below p");
    let all = powers(&point, 1001);
    let sum = fingerprint(&vec![1; 1000], &all[..1000]);
    let left = multiply([sum.c0(), sum.c1()], [point.c0() - 1, point.c1()]);
    let last = all[1000];
    assert_eq!(left, [add_base(last[0], PRIME - 1), last[1]]);

    let mut logits = vec![-7_i64; 1000];
    let before = fingerprint(&logits, &all);
    logits[17] += 1;
    let after = fingerprint(&logits, &all);
    assert_eq!(after.c0(), add_base(before.c0(), all[17][0]));
    assert_eq!(after.c1(), add_base(before.c1(), all[17][1]));
}

#[test]
fn negative_numbers_are_reduced_upwards() {
    assert_eq!(reduce_signed(-1), PRIME - 1);
    assert_eq!(reduce_signed(i128::from(PRIME)), 0);
}
