//! F32, F16 and BF16 numbers, read from their bits, rounded to 16-bit integers with a power-of-two scale.
//! Never uses a float type: a finite float is a dyadic rational and is treated as one.

use super::{FLOAT_GRIDS, MAX_ROW_SHIFT};
use crate::error::Error;

/// Largest magnitude of a rounded value; -32768 is not used.
const MAX_VALUE: i64 = 32_767;
/// Finest scale of a vector, 2^-24.
const MAX_VECTOR_EXPONENT: i32 = 24;

/// The three float formats that are read, all little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatKind {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
}

/// An exact dyadic rational, `mantissa * 2^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dyadic {
    /// At most 24 bits and a sign when it comes from a float.
    pub mantissa: i64,
    /// Power of two.
    pub exponent: i32,
}

/// What the import of one tensor lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The tensor.
    pub tensor: String,
    /// Whether the integers equal the numbers of the file.
    pub exact: bool,
    /// How many numbers were changed by rounding.
    pub rounded: u64,
    /// No number changed by more than `2^max_error_bits`; `i32::MIN` if exact.
    pub max_error_bits: i32,
}

/// A norm weight or bias: element i is `values[i] * 2^-exponent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    name: String,
    values: Vec<i16>,
    exponent: i32,
    loss: Loss,
}

impl Vector {
    /// Little-endian floats rounded to 16 bits on one common power-of-two scale, the finest (up to 2^-24) on
    /// which all magnitudes are at most 32767; 2^0 if all are zero.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::ScaleRange`].
    pub fn from_floats(name: &str, kind: FloatKind, bytes: &[u8]) -> Result<Vector, Error> {
        let finest = scan_row(name, kind, 0, bytes)?;
        let exponent = finest.map_or(0, |finest| finest.min(MAX_VECTOR_EXPONENT));
        check_range(name, exponent)?;
        let mut loss = Loss::none(name);
        let values = kind.read(bytes).map(|number| loss.round(number, exponent)).collect();
        Ok(Vector { name: name.to_owned(), values, exponent, loss })
    }

    /// A vector that is integers already.
    pub fn new(name: &str, values: Vec<i16>, exponent: i32) -> Vector {
        Vector { name: name.to_owned(), values, exponent, loss: Loss::none(name) }
    }

    /// The tensor's name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The integers.
    pub fn values(&self) -> &[i16] {
        &self.values
    }

    /// f in `value * 2^-f`; -16 to 24.
    pub fn exponent(&self) -> i32 {
        self.exponent
    }

    /// What rounding changed.
    pub fn loss(&self) -> &Loss {
        &self.loss
    }
}

impl Dyadic {
    /// The number whose binary32 bit pattern is `bits`; `None` for NaN and infinity.
    pub fn from_f32_bits(bits: u32) -> Option<Dyadic> {
        from_fields(bits >> 31, bits >> 23 & 255, bits & 0x7f_ffff, 23, 255)
    }

    /// The number whose binary16 bit pattern is `bits`; `None` for NaN and infinity.
    pub fn from_f16_bits(bits: u16) -> Option<Dyadic> {
        let bits = u32::from(bits);
        from_fields(bits >> 15, bits >> 10 & 31, bits & 0x3ff, 10, 31)
    }

    /// `floor(self * 2^f + 1/2)`; meant for results of at most 40 bits.
    pub(super) fn round(self, f: i32) -> i64 {
        let shift = self.exponent + f;
        if shift >= 0 {
            return self.mantissa << shift.min(62);
        }
        // A mantissa has at most 24 bits, so beyond 62 the result is 0 as it is at 62.
        let shift = (-shift).min(62);
        (self.mantissa + (1 << (shift - 1))) >> shift
    }

    /// Position of the highest set bit: |self| is in [2^top, 2^(top+1)). `None` for zero.
    fn top(self) -> Option<i32> {
        Some(self.mantissa.unsigned_abs().checked_ilog2()? as i32 + self.exponent)
    }
}

impl FloatKind {
    /// Bytes of one number.
    pub const fn bytes(self) -> u32 {
        match self {
            FloatKind::F32 => 4,
            FloatKind::F16 | FloatKind::BF16 => 2,
        }
    }

    /// Bit patterns as integers whose order, sign bit removed, is the order of magnitudes.
    fn patterns(self, bytes: &[u8]) -> impl Iterator<Item = u32> {
        bytes.chunks_exact(self.bytes() as usize).map(move |chunk| match (self, chunk) {
            (FloatKind::F32, &[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
            // A BF16 is the upper half of an F32.
            (FloatKind::BF16, &[a, b]) => u32::from_le_bytes([0, 0, a, b]),
            (FloatKind::F16, &[a, b]) => u32::from_le_bytes([a, b, 0, 0]),
            _ => unreachable!("chunks are exact"),
        })
    }

    fn sign_bit(self) -> u32 {
        match self {
            FloatKind::F16 => 1 << 15,
            FloatKind::F32 | FloatKind::BF16 => 1 << 31,
        }
    }

    fn dyadic(self, pattern: u32) -> Option<Dyadic> {
        match self {
            FloatKind::F16 => Dyadic::from_f16_bits(pattern as u16),
            FloatKind::F32 | FloatKind::BF16 => Dyadic::from_f32_bits(pattern),
        }
    }

    /// The numbers; for bytes that `scan_row` has accepted.
    fn read(self, bytes: &[u8]) -> impl Iterator<Item = Dyadic> {
        self.patterns(bytes)
            .map(move |pattern| self.dyadic(pattern).expect("scan_row refused what is not finite"))
    }
}

impl Loss {
    /// Nothing lost.
    pub fn none(tensor: &str) -> Loss {
        Loss { tensor: tensor.to_owned(), exact: true, rounded: 0, max_error_bits: i32::MIN }
    }

    /// Rounds to a multiple of `2^-f` and notes the error.
    fn round(&mut self, number: Dyadic, f: i32) -> i16 {
        let value = number.round(f);
        let shift = -(number.exponent + f);
        if shift > 0 {
            // In units of the number's own 2^exponent; a value beyond 40 bits down is 0.
            let error = number.mantissa - if shift > 40 { 0 } else { value << shift };
            if error != 0 {
                let ceil_log2 = u64::BITS - (error.unsigned_abs() - 1).leading_zeros();
                self.exact = false;
                self.rounded += 1;
                self.max_error_bits = self.max_error_bits.max(number.exponent + ceil_log2 as i32);
            }
        }
        i16::try_from(value).expect("the scale was chosen so that the largest value fits")
    }
}

/// Float rows as 16-bit integers, see [`super::Weights::from_floats`].
pub(super) struct RoundedRows {
    pub(super) grid: i32,
    pub(super) values: Vec<i16>,
    pub(super) shifts: Vec<u8>,
    pub(super) loss: Loss,
}

/// Row r gets the finest scale on which its magnitudes are at most 32767, but none is more than
/// `2^MAX_ROW_SHIFT` finer than the coarsest row that is not all zero, so that all share the grid of the finest.
pub(super) fn round_rows(name: &str, kind: FloatKind, cols: u32, bytes: &[u8]) -> Result<RoundedRows, Error> {
    let row_bytes = (cols as usize * kind.bytes() as usize).max(1);
    let mut finest = Vec::with_capacity(bytes.len() / row_bytes);
    for (row, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
        finest.push(scan_row(name, kind, row as u64, bytes)?);
    }
    let coarsest = finest.iter().flatten().min().copied().unwrap_or(0);
    let cap = coarsest + i32::from(MAX_ROW_SHIFT);
    let grid = finest.iter().flatten().map(|&f| f.min(cap)).max().unwrap_or(0);
    check_range(name, grid)?;
    let mut loss = Loss::none(name);
    let mut values = Vec::with_capacity(bytes.len() / kind.bytes() as usize);
    let mut shifts = Vec::with_capacity(finest.len());
    for (finest, bytes) in finest.iter().zip(bytes.chunks_exact(row_bytes)) {
        let f = finest.map_or(grid, |f| f.min(cap));
        shifts.push(u8::try_from(grid - f).expect("capped to MAX_ROW_SHIFT above"));
        values.extend(kind.read(bytes).map(|number| loss.round(number, f)));
    }
    Ok(RoundedRows { grid, values, shifts, loss })
}

/// The largest f for which `|floor(w * 2^f + 1/2)| <= 32767` over the row; `None` if all are zero.
fn scan_row(name: &str, kind: FloatKind, row: u64, bytes: &[u8]) -> Result<Option<i32>, Error> {
    let (mut positive, mut negative) = (0, 0);
    let sign = kind.sign_bit();
    for pattern in kind.patterns(bytes) {
        let side = if pattern & sign == 0 { &mut positive } else { &mut negative };
        *side = pattern.max(*side);
    }
    let (Some(positive), Some(negative)) = (kind.dyadic(positive), kind.dyadic(negative)) else {
        let column = kind.patterns(bytes).position(|pattern| kind.dyadic(pattern).is_none()).unwrap_or(0);
        return Err(Error::NotFinite { tensor: name.to_owned(), row, block: column as u64 });
    };
    let Some(top) = positive.top().max(negative.top()) else { return Ok(None) };
    // At 14 - top the largest magnitude is in [2^14, 2^15) and can only exceed the limit by rounding.
    let f = 14 - top;
    let fits = positive.round(f) <= MAX_VALUE && negative.round(f) >= -MAX_VALUE;
    Ok(Some(if fits { f } else { f - 1 }))
}

fn check_range(name: &str, exponent: i32) -> Result<(), Error> {
    if FLOAT_GRIDS.contains(&exponent) {
        return Ok(());
    }
    let (min, max) = (FLOAT_GRIDS.start, FLOAT_GRIDS.end - 1);
    Err(Error::ScaleRange { tensor: name.to_owned(), exponent, min, max })
}

fn from_fields(sign: u32, field: u32, fraction: u32, fraction_bits: i32, not_finite: u32) -> Option<Dyadic> {
    if field == not_finite {
        return None;
    }
    // Bias 127 for 8 exponent bits, 15 for 5; subnormals have the exponent of field 1.
    let bias = (not_finite / 2) as i32;
    let hidden = u32::from(field != 0) << fraction_bits;
    let mantissa = i64::from(fraction | hidden);
    let exponent = field.max(1) as i32 - bias - fraction_bits;
    Some(Dyadic { mantissa: if sign == 0 { mantissa } else { -mantissa }, exponent })
}
