//! The tables of the recipe: exp for softmax and sampling, the activation, the rotation. Made with integer
//! arithmetic only, correctly rounded, so that every machine makes the same bytes.

use crate::fixed_point::{FRACTION_BITS, Fixed, cos_sin_turns, exp_neg, ln_dyadic, pi, rsh};
use crate::import::Activation;

/// Softmax distances are counted in steps of 2^-6 nats.
pub const SOFTMAX_STEP_BITS: i32 = 6;
/// Rows with at most this many keys use [`exp_short`], longer ones [`exp_long`].
pub const SHORT_CONTEXT: usize = 1024;
/// The token sampler counts distances in steps of 2^-8 nats.
pub const SAMPLER_STEP_BITS: i32 = 8;
/// Fraction bits of the rotation table.
pub const ROTATION_BITS: i32 = 14;
/// The finest gate format: at 2^-11 the table's ends are the function's asymptotes, so that wide rows may
/// go on with `g` and 0 where the table ends (|silu(-16)| * 2^11 < 1/2).
pub const MAX_GATE_EXPONENT: i32 = 11;
/// Positions whose rotations enter the model commitment; longer contexts follow the same rule.
pub const COMMITTED_POSITIONS: u32 = 8192;

/// `table[t] = round((2^bits - 1) e^-(t + 1/2 [t > 0]) / 2^step)`: the middle of each step, but exactly the
/// largest value at distance 0. Ends before the first zero.
#[must_use]
pub fn exp_table(bits: u32, step_bits: i32) -> Vec<u32> {
    let mut table = Vec::new();
    for t in 0..u64::MAX {
        let half_steps = 2 * t + u64::from(t > 0);
        let e = exp_neg(Fixed::ratio(half_steps, 2 << step_bits));
        // (2^bits - 1) e, rounded: the product stays below 2^(112 + bits) only after a shift.
        let value = (e.0 >> 8) * u128::from((1_u32 << bits) - 1);
        let shift = FRACTION_BITS - 8;
        let rounded = u32::try_from((value + (1 << (shift - 1))) >> shift).expect("bits <= 24");
        if rounded == 0 {
            break;
        }
        table.push(rounded);
    }
    table
}

/// Softmax table for rows of up to [`SHORT_CONTEXT`] keys: 12 bits.
#[must_use]
pub fn exp_short() -> Vec<u32> {
    exp_table(12, SOFTMAX_STEP_BITS)
}

/// Softmax table for longer rows: 15 bits.
#[must_use]
pub fn exp_long() -> Vec<u32> {
    exp_table(15, SOFTMAX_STEP_BITS)
}

/// Table of the token sampler: 24 bits, so that a tail of 2^18 tokens keeps its mass.
#[must_use]
pub fn exp_sampler() -> Vec<u32> {
    exp_table(24, SAMPLER_STEP_BITS)
}

/// `table[g + 2^15] = round(2^exponent f(g / 2^exponent))` for every 16-bit `g`; `f` is SiLU or the tanh
/// form of GELU (Hendrycks and Gimpel, 2016, section 2).
#[must_use]
pub fn activation_table(activation: Activation, exponent: i32) -> Vec<i16> {
    let mut table = vec![0_i16; 1 << 16];
    let silu_exps = (activation == Activation::Silu).then(|| SiluExps::new(exponent));
    for g in 1..=32_768_i64 {
        let e = match &silu_exps {
            Some(exps) => exps.exp_neg(g.unsigned_abs()),
            None => gelu_exp_neg(g.unsigned_abs(), exponent),
        };
        // g / (1 + e) and its mirror -g e / (1 + e), as multiples of 2^-50, then rounded.
        let e = e.0 >> (FRACTION_BITS - 60);
        let (g_wide, denominator) = (u128::from(g.unsigned_abs()), (1 << 60) + e);
        let round = |x: u128| i16::try_from((x + (1 << 49)) >> 50).expect("at most g");
        table[to_index(32_768 - g)] = -round(((g_wide * e) << 50) / denominator);
        if g < 32_768 {
            table[to_index(32_768 + g)] = round((g_wide << 110) / denominator);
        }
    }
    table
}

/// e^-(g / 2^exponent) for 16-bit `g` by two short tables.
struct SiluExps {
    high: Vec<Fixed>,
    low: Vec<Fixed>,
}

impl SiluExps {
    fn new(exponent: i32) -> Self {
        let at = |g: u64| exp_neg(Fixed::ratio(g, 1 << exponent));
        Self { high: (0..=256).map(|h| at(h << 7)).collect(), low: (0..128).map(at).collect() }
    }

    fn exp_neg(&self, g: u64) -> Fixed {
        let index = |v: u64| usize::try_from(v).expect("16 bits");
        self.high[index(g >> 7)].times(self.low[index(g & 127)])
    }
}

/// e^-2u with u = sqrt(2/pi) (x + 0.044715 x^3): then GELU(x) = x / (1 + e^-2u).
fn gelu_exp_neg(g: u64, exponent: i32) -> Fixed {
    let x = Fixed::ratio(g, 1 << exponent);
    if x.0 >= 12 << FRACTION_BITS {
        return Fixed::ZERO; // 2u > 80
    }
    let cube = x.times(x).times(x).times(Fixed::ratio(44_715, 1_000_000));
    // sqrt(2/pi) < 1
    let root = Fixed::ratio(2, 1).over(pi()).sqrt();
    exp_neg(Fixed(2 * root.times(Fixed(x.0 + cube.0)).0))
}

/// Rotations of RoPE (Su et al. 2021, equation 15): for position `p` and pair `i`, cosine and sine of
/// `p * base^(-2i / dimension)`, times `scale` <= 1, rounded to 2^-14.
#[derive(Clone, Debug)]
pub struct RotationTable {
    pairs: usize,
    /// (position, pair, [cos, sin])
    values: Vec<[i16; 2]>,
}

/// What a [`RotationTable`] is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationSpec {
    /// `base = mantissa * 2^exponent`, at least 1.
    pub base: (u64, i32),
    /// Positions are divided by this (linear RoPE scaling), as a dyadic number; (1, 0) for none.
    pub position_divisor: (u64, i32),
    /// Width of a head; the number of pairs is half of it.
    pub dimension: u32,
    /// Factor on the table, at most 1, as a multiple of 2^-60: the part of the attention scale that is not a
    /// power of two is folded into the queries' table.
    pub scale_q60: i64,
}

impl RotationTable {
    /// Makes the table for positions `0..positions`.
    #[must_use]
    pub fn new(spec: RotationSpec, positions: u32) -> Self {
        /// Fine steps per coarse step: two short tables of 60-bit rotations are multiplied for each entry.
        const FINE: u64 = 128;
        let pairs = spec.dimension / 2;
        let mut values = vec![[0_i16; 2]; to_usize(positions) * to_usize(pairs)];
        for pair in 0..pairs {
            let turns = turns_per_position(spec, pair);
            let at = |position: u64| {
                // Whole turns wrap around: only the fraction counts.
                let fraction = turns.0.wrapping_mul(u128::from(position)) & (Fixed::ONE.0 - 1);
                let (cos, sin) = cos_sin_turns(Fixed(fraction));
                (cos.to_q60(), sin.to_q60())
            };
            let fine: Vec<_> = (0..FINE).map(at).collect();
            let mut coarse = (0, 0);
            for position in 0..positions {
                let step = u64::from(position) % FINE;
                if step == 0 {
                    coarse = at(u64::from(position));
                }
                let (cos, sin) = multiply_rotations(coarse, fine[usize::try_from(step).expect("below 128")]);
                values[to_usize(position) * to_usize(pairs) + to_usize(pair)] =
                    [round_q60(cos, spec.scale_q60), round_q60(sin, spec.scale_q60)];
            }
        }
        Self { pairs: to_usize(pairs), values }
    }

    /// The rotations of one position: (pair, [cos, sin]).
    ///
    /// # Panics
    /// If the table was made for fewer positions.
    #[must_use]
    pub fn position(&self, position: usize) -> &[[i16; 2]] {
        &self.values[position * self.pairs..][..self.pairs]
    }

    /// Number of positions in the table.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.values.len() / self.pairs.max(1)
    }

    /// The bytes that enter the commitment: (position, pair, cos then sin) as little-endian 16-bit numbers.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.values.iter().flatten().flat_map(|v| v.to_le_bytes()).collect()
    }
}

/// base^(-2i/dimension) / (2 pi divisor).
fn turns_per_position(spec: RotationSpec, pair: u32) -> Fixed {
    let exponent =
        ln_dyadic(spec.base.0, spec.base.1).mul_int(u64::from(2 * pair)).div_int(u64::from(spec.dimension));
    let divisor = ln_dyadic(spec.position_divisor.0, spec.position_divisor.1);
    exp_neg(Fixed(exponent.0 + divisor.0)).over(Fixed(2 * pi().0))
}

fn multiply_rotations(a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    let product = |x: i64, y: i64| i128::from(x) * i128::from(y);
    let shift = |x: i128| i64::try_from(x >> 60).expect("a rotation stays on the circle");
    (shift(product(a.0, b.0) - product(a.1, b.1)), shift(product(a.1, b.0) + product(a.0, b.1)))
}

fn round_q60(value: i64, scale: i64) -> i16 {
    let scaled = i64::try_from((i128::from(value) * i128::from(scale)) >> 60).expect("scale <= 1");
    i16::try_from(rsh(scaled, 60 - ROTATION_BITS)).expect("at most 2^14")
}

fn to_index(value: i64) -> usize {
    usize::try_from(value).expect("16-bit indices are shifted to be positive")
}

fn to_usize(value: u32) -> usize {
    usize::try_from(value).expect("32-bit numbers fit")
}

#[cfg(test)]
mod tests;
