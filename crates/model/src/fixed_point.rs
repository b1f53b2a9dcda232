//! The one rounding rule, exact integer square roots, and 112-bit fixed point for making tables. Never
//! uses a float type: two machines must make the same tables to the last bit.

use std::sync::OnceLock;

/// Fraction bits of [`Fixed`].
pub const FRACTION_BITS: u32 = 112;

/// Shifts right by `shift` bits, rounding halves up: `floor(x / 2^shift + 1/2)`. A negative `shift` is an
/// exact left shift. The only rounding rule of the recipe besides the floors that are named as such.
///
/// The caller keeps |x| < 2^62 and any left shift within 63 bits (module `bounds` proves it).
#[inline]
#[must_use]
pub fn rsh(x: i64, shift: i32) -> i64 {
    match shift {
        1..=62 => (x + (1 << (shift - 1))) >> shift,
        63.. => 0,
        _ => x << -shift,
    }
}

/// The largest `r` with `r * r <= value`.
#[must_use]
pub fn isqrt(value: u128) -> u64 {
    u64::try_from(value.isqrt()).expect("the root of a 128-bit number has at most 64 bits")
}

/// `round(sqrt(value))`, halves up (a half can't occur: (r + 1/2)^2 is never an integer).
#[must_use]
pub fn rounded_sqrt(value: u128) -> u64 {
    let root = isqrt(value);
    let rest = value - u128::from(root) * u128::from(root);
    if rest > u128::from(root) { root + 1 } else { root }
}

/// Bits of the magnitude of `x`: the smallest `n` with |x| < 2^n.
#[must_use]
pub fn magnitude_bits(x: i64) -> u32 {
    64 - x.unsigned_abs().leading_zeros()
}

/// A real number in [0, 2^15] as an integer multiple of 2^-112, truncated. Errors stay below 2^-100 in
/// every function here; tables round to at most 24 bits, so an entry could only differ from the correctly
/// rounded one where the true value lies within 2^-60 of a tie (checked against an outside script).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fixed(pub u128);

impl Fixed {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// One.
    pub const ONE: Self = Self(1 << FRACTION_BITS);

    /// `numerator / denominator`, truncated; the quotient must be below 2^15.
    #[must_use]
    pub fn ratio(numerator: u64, denominator: u64) -> Self {
        let (n, d) = (u128::from(numerator), u128::from(denominator));
        // Two steps of 56 bits keep every intermediate below 2^128.
        let high = (n << 56) / d;
        let rest = (n << 56) % d;
        Self((high << 56) + (rest << 56) / d)
    }

    /// Product, truncated. The product must be below 2^15.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        const LOW: u128 = (1 << 64) - 1;
        let (a1, a0) = (self.0 >> 64, self.0 & LOW);
        let (b1, b0) = (other.0 >> 64, other.0 & LOW);
        // The cross products are below 2^127 since the high halves have at most 63 bits.
        let low = (a0 * b0) >> 64;
        let (x, y) = (a1 * b0, a0 * b1);
        let middle = (x & LOW) + (y & LOW) + low;
        let high = a1 * b1 + (x >> 64) + (y >> 64) + (middle >> 64);
        Self((high << 16) | ((middle & LOW) >> 48))
    }

    /// `self * factor`; the product must be below 2^15.
    #[must_use]
    pub fn mul_int(self, factor: u64) -> Self {
        Self(self.0 * u128::from(factor))
    }

    /// `self / divisor`, truncated.
    #[must_use]
    pub fn div_int(self, divisor: u64) -> Self {
        Self(self.0 / u128::from(divisor))
    }

    /// `self / other` by long division, truncated; the quotient must be below 2^15.
    #[must_use]
    pub fn over(self, other: Self) -> Self {
        let mut quotient = self.0 / other.0;
        let mut rest = self.0 % other.0;
        for _ in 0..FRACTION_BITS {
            // rest < other < 2^127, so doubling fits.
            rest <<= 1;
            quotient <<= 1;
            if rest >= other.0 {
                rest -= other.0;
                quotient += 1;
            }
        }
        Self(quotient)
    }

    /// Square root of a number below 1, truncated, one bit at a time.
    #[must_use]
    pub fn sqrt(self) -> Self {
        let mut root = 0;
        for bit in (0..=FRACTION_BITS).rev() {
            let candidate = Self(root | (1 << bit));
            if candidate.times(candidate) <= self {
                root = candidate.0;
            }
        }
        Self(root)
    }

    /// `floor(self * 2^bits + 1/2)` for `bits` up to 62.
    #[must_use]
    pub fn round_to(self, bits: u32) -> u64 {
        let shift = FRACTION_BITS - bits;
        u64::try_from((self.0 + (1 << (shift - 1))) >> shift).expect("tables hold at most 63 bits")
    }
}

/// ln 2 = sum over k of 1 / (k 2^k).
#[must_use]
pub fn ln_2() -> Fixed {
    static VALUE: OnceLock<Fixed> = OnceLock::new();
    *VALUE.get_or_init(|| {
        // 15 guard bits keep 126 truncated terms from showing.
        let sum: u128 = (1..=126_u32).map(|k| (1_u128 << 127 >> k) / u128::from(k)).sum();
        Fixed(sum >> 15)
    })
}

/// pi by Machin's formula, 16 atan(1/5) - 4 atan(1/239).
#[must_use]
pub fn pi() -> Fixed {
    static VALUE: OnceLock<Fixed> = OnceLock::new();
    *VALUE.get_or_init(|| {
        let atan_inverse = |n: u128| {
            let mut power = (1_u128 << 122) / n;
            let (mut sum, mut k) = (power, 1);
            while power > 0 {
                power /= n * n;
                k += 2;
                sum = if k % 4 == 3 { sum - power / k } else { sum + power / k };
            }
            sum
        };
        Fixed((16 * atan_inverse(5) - 4 * atan_inverse(239)) >> 10)
    })
}

/// e^-y. Splits off powers of two, divides the rest by 256, sums the series and squares back eight times.
#[must_use]
pub fn exp_neg(y: Fixed) -> Fixed {
    let halvings = y.0 / ln_2().0;
    if halvings > u128::from(FRACTION_BITS) {
        return Fixed::ZERO;
    }
    let r = Fixed((y.0 - halvings * ln_2().0) >> 8);
    // r < 0.0028, so r^14 / 14! is below 2^-150; Horner's form of 1 - r (1 - r/2 (1 - r/3 (..))).
    let mut sum = Fixed::ONE;
    for k in (1..=14).rev() {
        sum = Fixed(Fixed::ONE.0 - r.times(sum).div_int(k).0);
    }
    for _ in 0..8 {
        sum = sum.times(sum);
    }
    Fixed(sum.0 >> halvings)
}

/// ln of `mantissa * 2^exponent` for a value of at least 1 and below 2^64: ln m = 2 atanh((m-1)/(m+1)).
#[must_use]
pub fn ln_dyadic(mantissa: u64, exponent: i32) -> Fixed {
    let bits = 63 - mantissa.leading_zeros();
    let power = i64::from(bits) + i64::from(exponent);
    // m = mantissa / 2^bits in [1, 2); z = (m - 1) / (m + 1) <= 1/3, so z^2k falls by 9 each step.
    let one = 1_u64 << bits;
    let z = Fixed::ratio(mantissa - one, mantissa + one);
    let square = z.times(z);
    let (mut term, mut sum, mut k) = (z, 0, 1);
    while term.0 > 0 {
        sum += term.div_int(k).0;
        term = term.times(square);
        k += 2;
    }
    Fixed(2 * sum + ln_2().0 * u128::from(power.unsigned_abs()))
}

/// Cosine and sine of `turns` full turns (a fraction in [0, 1)), each as sign and magnitude.
#[must_use]
pub fn cos_sin_turns(turns: Fixed) -> (Signed, Signed) {
    let quarter = turns.0 >> (FRACTION_BITS - 2);
    let rest = Fixed((turns.0 << 2) & (Fixed::ONE.0 - 1));
    let x = rest.times(Fixed(pi().0 >> 1));
    let (cos, sin) = cos_sin_quarter(x);
    match quarter {
        0 => (Signed::plus(cos), Signed::plus(sin)),
        1 => (Signed::minus(sin), Signed::plus(cos)),
        2 => (Signed::minus(cos), Signed::minus(sin)),
        _ => (Signed::plus(sin), Signed::minus(cos)),
    }
}

/// Both series for an angle in [0, pi/2]; twenty terms leave an error below 2^-120.
fn cos_sin_quarter(x: Fixed) -> (Fixed, Fixed) {
    let square = x.times(x);
    let series = |first: u64| {
        let mut sum = Fixed::ONE;
        for k in (0..20_u64).rev() {
            let (a, b) = (2 * k + first, 2 * k + first + 1);
            sum = Fixed(Fixed::ONE.0.saturating_sub(square.times(sum).div_int(a * b).0));
        }
        sum
    };
    (series(1), x.times(series(2)))
}

/// A signed [`Fixed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Magnitude.
    pub magnitude: Fixed,
    /// True below zero.
    pub negative: bool,
}

impl Signed {
    fn plus(magnitude: Fixed) -> Self {
        Self { magnitude, negative: false }
    }

    fn minus(magnitude: Fixed) -> Self {
        Self { magnitude, negative: true }
    }

    /// As an integer multiple of 2^-60, truncated towards zero.
    #[must_use]
    pub fn to_q60(self) -> i64 {
        let value = i64::try_from(self.magnitude.0 >> (FRACTION_BITS - 60)).expect("cosines are at most one");
        if self.negative { -value } else { value }
    }
}

#[cfg(test)]
mod tests;
