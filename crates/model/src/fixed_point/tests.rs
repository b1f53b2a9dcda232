//! Checks of [`super`] against known digits and algebraic laws.

use super::*;

#[test]
fn rsh_rounds_halves_up() {
    for (x, shift, expected) in [
        (5, 1, 3),
        (-5, 1, -2),
        (-6, 2, -1),
        (6, 2, 2),
        (-7, 2, -2),
        (7, 0, 7),
        (7, -3, 56),
        (-1, 62, 0),
        (9, 63, 0),
    ] {
        assert_eq!(rsh(x, shift), expected, "rsh({x}, {shift})");
    }
}

#[test]
fn roots() {
    for value in (0..5_000_u128).chain([u128::MAX, u128::MAX - 1, 1 << 100, (1 << 100) - 1]) {
        let r = u128::from(isqrt(value));
        assert!(r * r <= value && (r + 1).checked_mul(r + 1).is_none_or(|s| s > value), "{value}");
    }
    // 24 = sqrt(576); 576 * 2^72.
    assert_eq!(rounded_sqrt(576 << 72), 24 << 36);
    assert_eq!(rounded_sqrt(6), 2);
    assert_eq!(rounded_sqrt(7), 3);
}

/// Digits of the constants from OEIS A002162 and A000796, as `floor(c * 10^30)`.
#[test]
fn constants_match_published_digits() {
    let digits = |f: Fixed| {
        // Whole part, then thirty decimal places by repeated multiplication.
        let mut out = (f.0 >> FRACTION_BITS).to_string();
        let mut rest = f.0 & (Fixed::ONE.0 - 1);
        for _ in 0..30 {
            rest *= 10;
            out.push_str(&(rest >> FRACTION_BITS).to_string());
            rest &= Fixed::ONE.0 - 1;
        }
        out
    };
    assert_eq!(digits(ln_2()), "0693147180559945309417232121458");
    assert_eq!(digits(pi()), "3141592653589793238462643383279");
    assert_eq!(digits(exp_neg(Fixed::ONE)), "0367879441171442321595523770161");
    assert_eq!(digits(ln_dyadic(100_000, 0)), "11512925464970228420089957273421");
    assert_eq!(digits(Fixed::ratio(1, 2).sqrt()), "0707106781186547524400844362104");
    assert_eq!(digits(pi().over(Fixed::ratio(22, 7))), "0999597662505843303147204712861");
}

#[test]
fn cos_sin_lie_on_the_circle_and_hit_the_axes() {
    let half = |n: u64| cos_sin_turns(Fixed::ratio(n, 4));
    assert_eq!(half(0).0.to_q60(), 1 << 60);
    assert!(half(1).0.to_q60().abs() <= 1 && half(1).1.to_q60() >= (1 << 60) - 1);
    assert!(half(2).0.to_q60() <= -(1 << 60) + 1);
    for n in 0..997 {
        let (c, s) = cos_sin_turns(Fixed::ratio(n, 997));
        let square = c.magnitude.times(c.magnitude).0 + s.magnitude.times(s.magnitude).0;
        assert!(square.abs_diff(Fixed::ONE.0) < 1 << 12, "turn {n}/997");
    }
}
