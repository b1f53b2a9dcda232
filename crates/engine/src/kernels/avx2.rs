//! The kernels for AVX2: the 16 rows of a panel in two registers, up to four activation rows at a time. Never
//! rounds: every lane holds an integer below its range, as argued in `kernels.rs`.

use std::arch::x86_64::*;
use std::array;

use super::activations::{ActivationLine, RowsView};
use super::huge_buffer::Line;
use super::matmul::TILE;
use super::panel::{
    Centre, FormatId, LAYOUTS, Numbers, PANEL_ROWS, PanelParts, PanelView, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K,
    Q6_K, Q8_0, ROWS, WORDS, WORDS_MIN, WORDS_SHORT,
};

type Products = [[i64; PANEL_ROWS]; TILE];

/// See [`super::portable::expand`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn expand(format: FormatId, panel: PanelView<'_>, out: &mut [Line]) {
    match format {
        Q4_0 => expand_format::<Q4_0>(panel, out),
        Q4_1 => expand_format::<Q4_1>(panel, out),
        Q5_0 => expand_format::<Q5_0>(panel, out),
        Q5_1 => expand_format::<Q5_1>(panel, out),
        Q8_0 => expand_format::<Q8_0>(panel, out),
        Q4_K => expand_format::<Q4_K>(panel, out),
        Q5_K => expand_format::<Q5_K>(panel, out),
        Q6_K => expand_format::<Q6_K>(panel, out),
        _ => unreachable!("format {format} is not expanded"),
    }
}

/// Multiplies a panel with the first rows of `x`, returns how many: 4, 2 or 1.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn tile(format: FormatId, panel: PanelView<'_>, x: RowsView<'_>, out: &mut Products) -> usize {
    match format {
        Q4_0 => tile_format::<Q4_0>(panel, x, out),
        Q4_1 => tile_format::<Q4_1>(panel, x, out),
        Q5_0 => tile_format::<Q5_0>(panel, x, out),
        Q5_1 => tile_format::<Q5_1>(panel, x, out),
        Q8_0 => tile_format::<Q8_0>(panel, x, out),
        Q4_K => tile_format::<Q4_K>(panel, x, out),
        Q5_K => tile_format::<Q5_K>(panel, x, out),
        Q6_K => tile_format::<Q6_K>(panel, x, out),
        ROWS => tile_rows_format(panel, x, out),
        WORDS_MIN => tile_format::<WORDS_MIN>(panel, x, out),
        WORDS => tile_format::<WORDS>(panel, x, out),
        WORDS_SHORT => tile_format::<WORDS_SHORT>(panel, x, out),
        _ => unreachable!("format {format}"),
    }
}

#[target_feature(enable = "avx2,f16c")]
fn tile_format<const FORMAT: FormatId>(panel: PanelView<'_>, x: RowsView<'_>, out: &mut Products) -> usize {
    match x.lines.len() / x.lines_per_row {
        0 => 0,
        1 => sub_blocks_times::<FORMAT, 1>(panel, x, out),
        2 | 3 => sub_blocks_times::<FORMAT, 2>(panel, x, out),
        _ => sub_blocks_times::<FORMAT, 4>(panel, x, out),
    }
}

#[target_feature(enable = "avx2,f16c")]
fn tile_rows_format(panel: PanelView<'_>, x: RowsView<'_>, out: &mut Products) -> usize {
    match x.lines.len() / x.lines_per_row {
        0 => 0,
        1 => rows_times::<1>(panel, x, out),
        2 | 3 => rows_times::<2>(panel, x, out),
        _ => rows_times::<4>(panel, x, out),
    }
}

/// N activation rows times one panel of sub-blocks.
#[target_feature(enable = "avx2,f16c")]
fn sub_blocks_times<const FORMAT: FormatId, const N: usize>(
    panel: PanelView<'_>,
    x: RowsView<'_>,
    out: &mut Products,
) -> usize {
    let layout = const { LAYOUTS[FORMAT] };
    let lines_per_row = x.lines_per_row;
    let x_lines: [&[ActivationLine]; N] = array::from_fn(|n| &x.lines[n * lines_per_row..][..lines_per_row]);
    let x_sums: [&[i32]; N] = array::from_fn(|n| &x.sums[n * lines_per_row..][..lines_per_row]);
    let mut sums = [Sums::zero(); N];
    for index in 0..panel.sub_blocks {
        // A line of activations covers one sub-block of 32 columns or two of 16.
        let (line, first_pair) = if layout.sub_len == 32 { (index, 0) } else { (index / 2, index % 2 * 8) };
        let low = &panel.low[index * layout.low_lines()..][..layout.low_lines()];
        let high = &panel.high[index * layout.high_lines()..][..layout.high_lines()];
        let mut dots: [[__m256i; 2]; N] = array::from_fn(|n| match layout.centre {
            Centre::FromSum(bits) => [_mm256_set1_epi32(-(x_sums[n][line] << bits)); 2],
            Centre::None | Centre::FromCode(_) => [_mm256_setzero_si256(); 2],
        });
        for step in 0..layout.steps() {
            let words = words_of::<FORMAT>(low, high, step);
            for n in 0..N {
                add_products(&mut dots[n], words, pair(&x_lines[n][line], first_pair + step));
            }
        }
        let scale = number(panel.scales, layout.scales, panel.grid, index);
        for n in 0..N {
            sums[n].add(dots[n], scale);
        }
        if layout.mins as u8 != Numbers::None as u8 {
            let min = number(panel.mins, layout.mins, panel.grid, index);
            for n in 0..N {
                sums[n].add([_mm256_set1_epi32(x_sums[n][line]); 2], min);
            }
        }
    }
    for n in 0..N {
        sums[n].store(&mut out[n]);
    }
    N
}

/// N activation rows times one panel of 16-bit weights, as 256 * high byte (signed) + low byte: over 32 columns
/// the sums stay below 32 * 255 * 2^15 < 2^28.
#[target_feature(enable = "avx2,f16c")]
fn rows_times<const N: usize>(panel: PanelView<'_>, x: RowsView<'_>, out: &mut Products) -> usize {
    let low_bytes = _mm256_set1_epi16(255);
    let lines_per_row = x.lines_per_row;
    let x_lines: [&[ActivationLine]; N] = array::from_fn(|n| &x.lines[n * lines_per_row..][..lines_per_row]);
    let mut sums = [Sums::zero(); N];
    for (index, lines) in panel.low.chunks_exact(16).enumerate() {
        let mut low = [[_mm256_setzero_si256(); 2]; N];
        let mut high = [[_mm256_setzero_si256(); 2]; N];
        for (step, line) in lines.iter().enumerate() {
            let words = load(line);
            let low_words = words.map(|words| _mm256_and_si256(words, low_bytes));
            let high_words = words.map(|words| _mm256_srai_epi16::<8>(words));
            for n in 0..N {
                let pair = pair(&x_lines[n][index], step);
                add_products(&mut low[n], low_words, pair);
                add_products(&mut high[n], high_words, pair);
            }
        }
        for n in 0..N {
            sums[n].add(low[n], [_mm256_set1_epi32(1); 2]);
            sums[n].add(high[n], [_mm256_set1_epi32(256); 2]);
        }
    }
    for n in 0..N {
        sums[n].store(&mut out[n]);
    }
    N
}

/// 64-bit sums of the rows 0 to 7 and 8 to 15 with even and with odd numbers.
#[derive(Clone, Copy)]
struct Sums {
    even: [__m256i; 2],
    odd: [__m256i; 2],
}

impl Sums {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    fn zero() -> Sums {
        Sums { even: [_mm256_setzero_si256(); 2], odd: [_mm256_setzero_si256(); 2] }
    }

    /// Adds products of 32-bit lanes.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    fn add(&mut self, a: [__m256i; 2], b: [__m256i; 2]) {
        for half in 0..2 {
            // `vpmuldq` multiplies the low halves of 64-bit lanes, signed.
            let (a_odd, b_odd) = (_mm256_srli_epi64::<32>(a[half]), _mm256_srli_epi64::<32>(b[half]));
            self.even[half] = _mm256_add_epi64(self.even[half], _mm256_mul_epi32(a[half], b[half]));
            self.odd[half] = _mm256_add_epi64(self.odd[half], _mm256_mul_epi32(a_odd, b_odd));
        }
    }

    /// Puts even and odd rows back in order.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    fn store(&self, out: &mut [i64; PANEL_ROWS]) {
        for half in 0..2 {
            // Rows 0 1 4 5 and 2 3 6 7 of this half.
            let first = _mm256_unpacklo_epi64(self.even[half], self.odd[half]);
            let second = _mm256_unpackhi_epi64(self.even[half], self.odd[half]);
            let out = &mut out[8 * half..][..8];
            // SAFETY: eight numbers of 64 bits are two registers; the stores need no alignment.
            unsafe {
                let out = out.as_mut_ptr().cast::<__m256i>();
                _mm256_storeu_si256(out, _mm256_permute2x128_si256::<0x20>(first, second));
                _mm256_storeu_si256(out.add(1), _mm256_permute2x128_si256::<0x31>(first, second));
            }
        }
    }
}

/// Adds the products of words and activations to 32-bit lanes; a lane is two columns of one row.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn add_products(dots: &mut [__m256i; 2], words: [__m256i; 2], pair: __m256i) {
    for (dots, words) in dots.iter_mut().zip(words) {
        *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(words, pair));
    }
}

#[target_feature(enable = "avx2,f16c")]
fn expand_format<const FORMAT: FormatId>(panel: PanelView<'_>, out: &mut [Line]) {
    let from = const { LAYOUTS[FORMAT] };
    let to = const { LAYOUTS[LAYOUTS[FORMAT].expanded()] };
    let parts = PanelParts::new(&to, out, panel.sub_blocks);
    for index in 0..panel.sub_blocks {
        let low = &panel.low[index * from.low_lines()..][..from.low_lines()];
        let high = &panel.high[index * from.high_lines()..][..from.high_lines()];
        let words = &mut parts.low[index * to.low_lines()..][..to.low_lines()];
        for (step, line) in words.iter_mut().enumerate() {
            let mut words = words_of::<FORMAT>(low, high, step);
            if let Centre::FromSum(bits) = from.centre {
                words = words.map(|words| _mm256_sub_epi16(words, _mm256_set1_epi16(1 << bits)));
            }
            store(line, words);
        }
        store(&mut parts.scales[index], number(panel.scales, from.scales, panel.grid, index));
        if let Some(line) = parts.mins.get_mut(index) {
            store(line, number(panel.mins, from.mins, panel.grid, index));
        }
    }
}

/// The 16 rows' codes of two columns as words.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn words_of<const FORMAT: FormatId>(low: &[Line], high: &[Line], step: usize) -> [__m256i; 2] {
    let layout = const { LAYOUTS[FORMAT] };
    let per_word = 16 / layout.low_bits;
    let field = step % per_word;
    let low = load(&low[step / per_word]);
    let high = if layout.high_bits > 0 { load(&high[0]) } else { low };
    array::from_fn(|half| {
        let mut words = shift_right(low[half], (field * layout.low_bits) as i32);
        if field + 1 < per_word {
            words = _mm256_and_si256(words, _mm256_set1_epi16((1 << layout.low_bits) - 1));
        }
        if layout.high_bits > 0 {
            // The field of this step, moved to bit 4.
            let moved = shift_right(high[half], (step * layout.high_bits) as i32 - 4);
            let mask = _mm256_set1_epi16(((1 << layout.high_bits) - 1) << 4);
            words = _mm256_or_si256(words, _mm256_and_si256(moved, mask));
        }
        if let Centre::FromCode(bits) = layout.centre {
            words = _mm256_sub_epi16(words, _mm256_set1_epi16(1 << bits));
        }
        words
    })
}

/// Words moved right by `bits`, left if negative. A constant once the loop over steps is unrolled.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn shift_right(words: __m256i, bits: i32) -> __m256i {
    if bits >= 0 {
        _mm256_srl_epi16(words, _mm_cvtsi32_si128(bits))
    } else {
        _mm256_sll_epi16(words, _mm_cvtsi32_si128(-bits))
    }
}

/// 16 rows' scales or minima as integers.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn number(lines: &[Line], form: Numbers, grid: i32, index: usize) -> [__m256i; 2] {
    match form {
        Numbers::None => [_mm256_set1_epi32(1); 2],
        Numbers::Int => load(&lines[index]),
        Numbers::Half => {
            let unit = _mm256_set1_ps(f32::from_bits((127 + grid).cast_unsigned() << 23));
            array::from_fn(|half| {
                let halves = &lines[index / 2].0[index % 2 * 32 + half * 16..][..16];
                // SAFETY: 16 bytes are there; the load needs no alignment.
                let halves = unsafe { _mm_loadu_si128(halves.as_ptr().cast()) };
                // Exact: an f16 is an f32 of 11 bits, times a power of two it still is, and the grid was chosen
                // such that the product is an integer of at most 31 bits, so the conversion has nothing to round.
                _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtph_ps(halves), unit))
            })
        }
    }
}

/// Two neighbouring activations in every lane.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn pair(line: &ActivationLine, pair: usize) -> __m256i {
    let [first, second] = line.0.as_chunks::<2>().0[pair];
    _mm256_set1_epi32(i32::from(second) << 16 | i32::from(first.cast_unsigned()))
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load(line: &Line) -> [__m256i; 2] {
    let start = line.0.as_ptr().cast::<__m256i>();
    // SAFETY: a line is 64 aligned bytes.
    unsafe { [_mm256_load_si256(start), _mm256_load_si256(start.add(1))] }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn store(line: &mut Line, [first, second]: [__m256i; 2]) {
    let start = line.0.as_mut_ptr().cast::<__m256i>();
    // SAFETY: a line is 64 aligned bytes.
    unsafe {
        _mm256_store_si256(start, first);
        _mm256_store_si256(start.add(1), second);
    }
}
