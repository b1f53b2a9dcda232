//! Layouts of the eight block-quantized formats of ggml, and the grid on which their scales are integers.
//! Never converts a scale to a float: an f16 is a mantissa of 11 bits times a power of two.
//!
//! Layouts: ggml, `ggml-common.h` (block_q8_0 .. block_q6_K) and `ggml-quants.c` (dequantize_row_*).

use super::{MAX_SUB_BLOCK, SubBlock};
use crate::error::Error;

/// The block formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// 32 weights of 8 bits, one f16 scale.
    Q8_0,
    /// 32 weights of 4 bits, one f16 scale.
    Q4_0,
    /// 32 weights of 4 bits, f16 scale and minimum.
    Q4_1,
    /// 32 weights of 5 bits, one f16 scale.
    Q5_0,
    /// 32 weights of 5 bits, f16 scale and minimum.
    Q5_1,
    /// 256 weights of 4 bits; per 32 a scale and a minimum of 6 bits; two f16.
    Q4K,
    /// 256 weights of 5 bits; per 32 a scale and a minimum of 6 bits; two f16.
    Q5K,
    /// 256 weights of 6 bits; per 16 a scale of 8 bits; one f16.
    Q6K,
}

/// What the file format fixes about one kind.
struct Layout {
    block_weights: u32,
    block_bytes: u32,
    sub_block_len: usize,
    /// Byte offset of the f16 scale d.
    scale_at: usize,
    /// Byte offset of the f16 minimum, if the kind has one.
    min_at: Option<usize>,
    /// The code that stands for 0 if there is no minimum, otherwise 0.
    centre: i32,
    max_code: u64,
    /// Largest magnitudes by which d and the minimum are multiplied.
    max_sub_scale: u64,
    max_sub_min: u64,
}

impl Layout {
    /// 32 weights, d first, then (if `min`) the minimum, then the codes.
    const fn simple(bytes: u32, min: bool, centre: i32, max_code: u64) -> Layout {
        Layout {
            block_weights: 32,
            block_bytes: bytes,
            sub_block_len: 32,
            scale_at: 0,
            min_at: if min { Some(2) } else { None },
            centre,
            max_code,
            max_sub_scale: 1,
            max_sub_min: if min { 1 } else { 0 },
        }
    }

    /// 8 x 32 weights, d, dmin, 12 bytes of 6-bit scales and minima, then the codes.
    const fn six_bit_scales(bytes: u32, max_code: u64) -> Layout {
        Layout {
            block_weights: 256,
            block_bytes: bytes,
            sub_block_len: 32,
            scale_at: 0,
            min_at: Some(2),
            centre: 0,
            max_code,
            max_sub_scale: 63,
            max_sub_min: 63,
        }
    }
}

const Q8_0: Layout = Layout::simple(34, false, 128, 255);
const Q4_0: Layout = Layout::simple(18, false, 8, 15);
const Q4_1: Layout = Layout::simple(20, true, 0, 15);
const Q5_0: Layout = Layout::simple(22, false, 16, 31);
const Q5_1: Layout = Layout::simple(24, true, 0, 31);
const Q4K: Layout = Layout::six_bit_scales(144, 15);
const Q5K: Layout = Layout::six_bit_scales(176, 31);
const Q6K: Layout = Layout {
    block_weights: 256,
    block_bytes: 210,
    sub_block_len: 16,
    scale_at: 208,
    min_at: None,
    centre: 32,
    max_code: 63,
    max_sub_scale: 128,
    max_sub_min: 0,
};

impl BlockKind {
    /// Every kind, in the order of the enum.
    pub const ALL: [BlockKind; 8] = [
        BlockKind::Q8_0,
        BlockKind::Q4_0,
        BlockKind::Q4_1,
        BlockKind::Q5_0,
        BlockKind::Q5_1,
        BlockKind::Q4K,
        BlockKind::Q5K,
        BlockKind::Q6K,
    ];

    const fn layout(self) -> &'static Layout {
        match self {
            BlockKind::Q8_0 => &Q8_0,
            BlockKind::Q4_0 => &Q4_0,
            BlockKind::Q4_1 => &Q4_1,
            BlockKind::Q5_0 => &Q5_0,
            BlockKind::Q5_1 => &Q5_1,
            BlockKind::Q4K => &Q4K,
            BlockKind::Q5K => &Q5K,
            BlockKind::Q6K => &Q6K,
        }
    }

    /// Weights per block: 32 or 256.
    pub const fn block_weights(self) -> u32 {
        self.layout().block_weights
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> u32 {
        self.layout().block_bytes
    }

    /// Weights that share a scale: 32, or 16 for Q6_K.
    pub const fn sub_block_len(self) -> usize {
        self.layout().sub_block_len
    }

    /// Sub-blocks per block: 1, 8, or 16 for Q6_K.
    pub const fn sub_blocks(self) -> usize {
        self.layout().block_weights as usize / self.layout().sub_block_len
    }

    /// Reads sub-block `index` of one whole block whose scales are integers on `2^-grid`.
    #[inline]
    pub(super) fn sub_block(self, grid: i32, block: &[u8], index: usize) -> SubBlock {
        let layout = self.layout();
        let (sub_scale, sub_min) = match self {
            BlockKind::Q4K | BlockKind::Q5K => six_bit_scale(&block[4..16], index),
            BlockKind::Q6K => (i32::from(block[192 + index].cast_signed()), 0),
            BlockKind::Q8_0 | BlockKind::Q4_0 | BlockKind::Q4_1 | BlockKind::Q5_0 | BlockKind::Q5_1 => (1, 1),
        };
        let scale = half_on_grid(read_half(block, layout.scale_at), grid) * sub_scale;
        let min = match layout.min_at {
            None => -layout.centre * scale,
            Some(at) => {
                let min = half_on_grid(read_half(block, at), grid) * sub_min;
                // The simple kinds add their minimum, the K kinds subtract it.
                if layout.block_weights == 32 { min } else { -min }
            }
        };
        let mut codes = [0; MAX_SUB_BLOCK];
        match self {
            BlockKind::Q8_0 => copy_map(&mut codes, &block[2..34], |byte| byte ^ 0x80),
            BlockKind::Q4_0 => nibbles(&mut codes, &block[2..18]),
            BlockKind::Q4_1 => nibbles(&mut codes, &block[4..20]),
            BlockKind::Q5_0 => five_bits(&mut codes, &block[2..6], &block[6..22]),
            BlockKind::Q5_1 => five_bits(&mut codes, &block[4..8], &block[8..24]),
            BlockKind::Q4K => half_bytes(&mut codes, &block[16 + index / 2 * 32..][..32], index % 2),
            BlockKind::Q5K => {
                half_bytes(&mut codes, &block[48 + index / 2 * 32..][..32], index % 2);
                high_bits(&mut codes, &block[16..48], |byte| (byte >> index & 1) << 4);
            }
            BlockKind::Q6K => {
                // Groups of 32: two halves of 128 weights, each two low-nibble then two high-nibble groups.
                let (group, start) = (index / 2, index % 2 * 16);
                let (half, shift) = (group / 4, group % 4 * 2);
                let low = &block[64 * half + 32 * (group % 2) + start..][..16];
                half_bytes(&mut codes, low, group / 2 % 2);
                high_bits(&mut codes, &block[128 + 32 * half + start..][..16], |byte| {
                    (byte >> shift & 3) << 4
                });
            }
        }
        SubBlock { scale, min, codes, len: layout.sub_block_len as u8 }
    }
}

/// The coarsest grid on which every scale and minimum of the tensor is an integer: the smallest f >= 0 for
/// `2^-f`. Zeros do not count.
///
/// Refuses the tensor unless `scale * max_code`, `min` and their sum fit `i32` whatever the codes, so that
/// nobody downstream has to think about overflow of a single weight.
pub(super) fn find_grid(
    name: &str,
    kind: BlockKind,
    blocks_per_row: u32,
    bytes: &[u8],
) -> Result<i32, Error> {
    let layout = kind.layout();
    let (mut any, mut max_scale, mut max_min) = (0_u64, 0_u64, 0_u64);
    for (number, block) in bytes.chunks_exact(layout.block_bytes as usize).enumerate() {
        let scale = read_half(block, layout.scale_at);
        let min = layout.min_at.map_or(0, |at| read_half(block, at));
        if !is_finite(scale) || !is_finite(min) {
            let (row, block) =
                (number as u64 / u64::from(blocks_per_row), number as u64 % u64::from(blocks_per_row));
            return Err(Error::NotFinite { tensor: name.to_owned(), row, block });
        }
        let (scale, min) = (half_magnitude(scale), half_magnitude(min));
        any |= scale | min;
        max_scale = max_scale.max(scale);
        max_min = max_min.max(min);
    }
    let grid = HALF_GRID - any.trailing_zeros().min(HALF_GRID);
    let on_grid = |magnitude: u64| magnitude >> (HALF_GRID - grid);
    let bound =
        on_grid(max_scale) * layout.max_sub_scale * layout.max_code + on_grid(max_min) * layout.max_sub_min;
    let bits = u64::BITS - bound.leading_zeros();
    if bits >= i32::BITS {
        return Err(Error::GridTooWide { tensor: name.to_owned(), grid: grid as i32, bits });
    }
    Ok(grid as i32)
}

/// Every finite f16 is an integer multiple of 2^-24.
const HALF_GRID: u32 = 24;

fn read_half(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

fn is_finite(half: u16) -> bool {
    half & 0x7c00 != 0x7c00
}

/// Mantissa and exponent of a finite f16: |value| = mantissa * 2^(exponent - 24).
fn half_parts(half: u16) -> (u32, u32) {
    let (field, fraction) = (u32::from(half) >> 10 & 31, u32::from(half) & 1023);
    if field == 0 { (fraction, 0) } else { (fraction | 1024, field - 1) }
}

/// |value| * 2^24, at most 2^40.
fn half_magnitude(half: u16) -> u64 {
    let (mantissa, exponent) = half_parts(half);
    u64::from(mantissa) << exponent
}

/// value * 2^grid, which `find_grid` has made sure is an integer of at most 31 bits.
#[inline]
fn half_on_grid(half: u16, grid: i32) -> i32 {
    let (mantissa, exponent) = half_parts(half);
    let shift = exponent as i32 + grid - HALF_GRID as i32;
    let magnitude = if shift >= 0 { mantissa << shift } else { mantissa >> -shift };
    if half >> 15 == 0 { magnitude.cast_signed() } else { -magnitude.cast_signed() }
}

/// Scale and minimum `index` of the 8 + 8 six-bit numbers packed into 12 bytes.
fn six_bit_scale(packed: &[u8], index: usize) -> (i32, i32) {
    let (scale, min) = if index < 4 {
        (packed[index] & 63, packed[index + 4] & 63)
    } else {
        let shared = packed[index + 4];
        (shared & 15 | packed[index - 4] >> 6 << 4, shared >> 4 | packed[index] >> 6 << 4)
    };
    (i32::from(scale), i32::from(min))
}

fn copy_map(codes: &mut [u8; MAX_SUB_BLOCK], bytes: &[u8], map: impl Fn(u8) -> u8) {
    for (code, &byte) in codes.iter_mut().zip(bytes) {
        *code = map(byte);
    }
}

/// 16 bytes: codes 0..16 in the low halves, 16..32 in the high halves.
fn nibbles(codes: &mut [u8; MAX_SUB_BLOCK], bytes: &[u8]) {
    let (low, high) = codes.split_at_mut(16);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

/// As `nibbles`, with the fifth bit of code j in bit j of a 32-bit word.
fn five_bits(codes: &mut [u8; MAX_SUB_BLOCK], fifth: &[u8], bytes: &[u8]) {
    nibbles(codes, bytes);
    let word = u32::from_le_bytes([fifth[0], fifth[1], fifth[2], fifth[3]]);
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= ((word >> j & 1) as u8) << 4;
    }
}

/// The low (`which` = 0) or high (1) half of each byte.
fn half_bytes(codes: &mut [u8; MAX_SUB_BLOCK], bytes: &[u8], which: usize) {
    copy_map(codes, bytes, |byte| byte >> (4 * which) & 15);
}

fn high_bits(codes: &mut [u8; MAX_SUB_BLOCK], bytes: &[u8], bits: impl Fn(u8) -> u8) {
    for (code, &byte) in codes.iter_mut().zip(bytes) {
        *code |= bits(byte);
    }
}
