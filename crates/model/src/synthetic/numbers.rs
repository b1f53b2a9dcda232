//! Random weights in every format, made with integers only.

use crate::gguf::TensorType;
use crate::weights::{BlockKind, FloatKind};

/// Sebastiano Vigna's splitmix64.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A stream of its own for every seed.
    pub fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (at most 2^32; its bias is then below 2^-32).
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Roughly normal: -510 to 510 with standard deviation 148 (four dice of 256 sides).
    fn bell(&mut self) -> i64 {
        (0..4).map(|_| self.below(256) as i64).sum::<i64>() - 510
    }
}

/// Standard deviation of `bell`.
const BELL: u64 = 148;
/// Scales are computed in units of 2^-40.
const UNIT_BITS: u32 = 40;

/// Row-major data of a matrix whose weights have a standard deviation of about 1 / sqrt(cols).
///
/// # Panics
/// If `cols` is not a multiple of the block length.
pub(super) fn matrix(random: &mut SplitMix64, kind: TensorType, rows: u32, cols: u32) -> Vec<u8> {
    assert!(cols.is_multiple_of(kind.block_weights()), "{cols} columns of {kind:?}");
    let deviation = ((1_u128 << (2 * UNIT_BITS)) / u128::from(cols)).isqrt() as u64;
    let mut out = Vec::new();
    for _ in 0..u64::from(rows) * u64::from(cols / kind.block_weights()) {
        match kind {
            TensorType::Float(kind) => {
                let value = random.bell() * (deviation / BELL) as i64;
                push_float(&mut out, kind, value);
            }
            TensorType::Block(kind) => push_block(random, &mut out, kind, deviation),
        }
    }
    out
}

/// F32 data with a deviation of 1/7 around `centre`, every value a multiple of 2^-10.
pub(super) fn vector(random: &mut SplitMix64, length: u32, centre: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..length {
        let value = random.bell() + (i64::from(centre) << 10);
        push_float(&mut out, FloatKind::F32, value << (UNIT_BITS - 10));
    }
    out
}

/// One block: codes of deviation 0.144 of their range, so a scale of 7 deviations per range.
fn push_block(random: &mut SplitMix64, out: &mut Vec<u8>, kind: BlockKind, deviation: u64) {
    let bits = match kind {
        BlockKind::Q4_0 | BlockKind::Q4_1 | BlockKind::Q4K => 4,
        BlockKind::Q5_0 | BlockKind::Q5_1 | BlockKind::Q5K => 5,
        BlockKind::Q6K => 6,
        BlockKind::Q8_0 => 8,
    };
    let centre = 1_i64 << (bits - 1);
    let code = |bell: i64| (centre + (((bell << bits) + 512) >> 10)).min(2 * centre - 1) as u8;
    let codes: Vec<u8> = (0..kind.block_weights()).map(|_| code(random.bell())).collect();
    let scale = ((deviation * 7) >> bits) * (192 + random.below(128)) / 256;
    let sign = u16::from(random.below(2) == 1) << 15;
    match kind {
        BlockKind::Q8_0 => {
            out.extend(half(scale).to_le_bytes());
            out.extend(codes.iter().map(|code| code ^ 0x80));
        }
        BlockKind::Q4_0 | BlockKind::Q5_0 => {
            // ggml gives the scale the sign of the largest weight.
            out.extend((half(scale) | sign).to_le_bytes());
            push_codes(out, &codes, bits);
        }
        BlockKind::Q4_1 | BlockKind::Q5_1 => {
            out.extend(half(scale).to_le_bytes());
            out.extend((half(scale << (bits - 1)) | 1 << 15).to_le_bytes());
            push_codes(out, &codes, bits);
        }
        BlockKind::Q4K | BlockKind::Q5K => {
            // Equal six-bit numbers for scale and minimum: the minimum is `centre` scales.
            out.extend(half(scale / 48).to_le_bytes());
            out.extend(half((scale / 48) << (bits - 1)).to_le_bytes());
            let six: Vec<u8> = (0..8).map(|_| 32 + random.below(32) as u8).collect();
            out.extend(six[..4].iter().zip(&six[4..]).map(|(low, high)| low | high >> 4 << 6));
            out.extend(six[..4].iter().zip(&six[4..]).map(|(low, high)| low | high >> 4 << 6));
            out.extend(six[4..].iter().map(|high| high & 15 | high << 4));
            push_super_codes(out, &codes, bits);
        }
        BlockKind::Q6K => {
            for (low, high) in codes.chunks(128).map(|half| half.split_at(64)) {
                out.extend(low.iter().zip(high).map(|(low, high)| low & 15 | high << 4));
            }
            for half in codes.chunks(128) {
                out.extend((0..32).map(|l| (0..4).map(|g| half[32 * g + l] >> 4 << (2 * g)).sum::<u8>()));
            }
            let sub_scale =
                |random: &mut SplitMix64| (64 + random.below(64) as i8) * [1, -1][random.below(2) as usize];
            out.extend((0..16).map(|_| sub_scale(random).cast_unsigned()));
            out.extend((half(scale / 96) | sign).to_le_bytes());
        }
    }
}

/// 32 codes of 4 or 5 bits: fifth bits first, then code j and code j + 16 in one byte.
fn push_codes(out: &mut Vec<u8>, codes: &[u8], bits: u32) {
    if bits == 5 {
        let fifth = codes.iter().rev().fold(0_u32, |word, code| word << 1 | u32::from(code >> 4));
        out.extend(fifth.to_le_bytes());
    }
    out.extend((0..16).map(|j| codes[j] & 15 | codes[j + 16] << 4));
}

/// 256 codes of 4 or 5 bits: fifth bits first (bit s of byte l for code l of sub-block s), then pairs of
/// sub-blocks in the halves of 32 bytes.
fn push_super_codes(out: &mut Vec<u8>, codes: &[u8], bits: u32) {
    if bits == 5 {
        out.extend((0..32).map(|l| (0..8).map(|s| codes[32 * s + l] >> 4 << s).sum::<u8>()));
    }
    for (low, high) in codes.chunks(64).map(|pair| pair.split_at(32)) {
        out.extend(low.iter().zip(high).map(|(low, high)| low & 15 | high << 4));
    }
}

/// The f16 next below `value * 2^-40`, at most 65504.
fn half(value: u64) -> u16 {
    // Subnormals are multiples of 2^-24.
    let units = value >> (UNIT_BITS - 24);
    match units.checked_ilog2() {
        None | Some(0..10) => units as u16,
        Some(top @ 10..40) => {
            let mantissa = (units >> (top - 10)) as u16 & 1023;
            ((top - 9) as u16) << 10 | mantissa
        }
        Some(_) => 0x7bff,
    }
}

/// The float next to `value * 2^-40` towards zero.
fn push_float(out: &mut Vec<u8>, kind: FloatKind, value: i64) {
    let (sign, magnitude) = (u32::from(value < 0), value.unsigned_abs());
    // Binary32: bias 127, so 2^-40 * 2^top has exponent field 87 + top.
    let bits = match magnitude.checked_ilog2() {
        None => 0,
        Some(top) => {
            let aligned = if top >= 23 { magnitude >> (top - 23) } else { magnitude << (23 - top) };
            (127 - UNIT_BITS + top) << 23 | aligned as u32 & 0x7f_ffff
        }
    };
    match kind {
        FloatKind::F32 => out.extend((sign << 31 | bits).to_le_bytes()),
        FloatKind::BF16 => out.extend(((sign << 31 | bits) >> 16).to_le_bytes().iter().take(2)),
        FloatKind::F16 => out.extend((half(magnitude) | (sign << 15) as u16).to_le_bytes()),
    }
}
