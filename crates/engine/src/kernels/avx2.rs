//! The kernels for AVX2: the 16 rows of a panel in the lanes of two registers, up to four rows of activations
//! at a time. Never rounds: every lane holds an integer below its range, as argued in `kernels.rs`.

use std::arch::x86_64::*;

use super::activations::{ActivationLine, LINE_COLS, RowsView, columns};
use super::huge_buffer::Line;
use super::matmul::ProductsMut;
use super::panel::{
    Centre, FormatId, LAYOUTS, Numbers, PANEL_ROWS, PanelParts, PanelView, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1,
    Q5_K, Q6_K, Q8_0, ROWS, WORDS, WORDS_MIN, WORDS_SHORT,
};

/// 16 lanes of 32 bits, or 32 words.
type Lanes = [__m256i; 2];

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

/// Multiplies a panel with the first rows of `x`, up to four, and returns how many.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn tile(
    format: FormatId,
    panel: PanelView<'_>,
    x: RowsView<'_>,
    out: &mut ProductsMut<'_>,
) -> usize {
    match format {
        Q4_0 => tile_format::<Q4_0>(panel, x, out),
        Q4_1 => tile_format::<Q4_1>(panel, x, out),
        Q5_0 => tile_format::<Q5_0>(panel, x, out),
        Q5_1 => tile_format::<Q5_1>(panel, x, out),
        Q8_0 => tile_format::<Q8_0>(panel, x, out),
        Q4_K => tile_format::<Q4_K>(panel, x, out),
        Q5_K => tile_format::<Q5_K>(panel, x, out),
        Q6_K => tile_format::<Q6_K>(panel, x, out),
        ROWS => tile_rows(panel, x, out),
        WORDS_MIN => tile_format::<WORDS_MIN>(panel, x, out),
        WORDS => tile_format::<WORDS>(panel, x, out),
        WORDS_SHORT => tile_format::<WORDS_SHORT>(panel, x, out),
        _ => unreachable!("format {format}"),
    }
}

#[target_feature(enable = "avx2,f16c")]
fn tile_format<const FORMAT: FormatId>(
    panel: PanelView<'_>,
    x: RowsView<'_>,
    out: &mut ProductsMut<'_>,
) -> usize {
    match x.rows() {
        0 => 0,
        1 => sub_blocks_times::<FORMAT, 1>(panel, x, out),
        2 | 3 => sub_blocks_times::<FORMAT, 2>(panel, x, out),
        _ => sub_blocks_times::<FORMAT, 4>(panel, x, out),
    }
}

#[target_feature(enable = "avx2,f16c")]
fn tile_rows(panel: PanelView<'_>, x: RowsView<'_>, out: &mut ProductsMut<'_>) -> usize {
    match x.rows() {
        0 => 0,
        1 => rows_times::<1>(panel, x, out),
        _ => rows_times::<2>(panel, x, out),
    }
}

/// A panel of sub-blocks times N rows.
#[inline(never)]
#[target_feature(enable = "avx2,f16c")]
fn sub_blocks_times<const FORMAT: FormatId, const N: usize>(
    panel: PanelView<'_>,
    x: RowsView<'_>,
    out: &mut ProductsMut<'_>,
) -> usize {
    let layout = const { LAYOUTS[FORMAT] };
    // A line of activations covers one sub-block of 32 columns or two of 16.
    let parts = const { LINE_COLS / LAYOUTS[FORMAT].sub_len };
    let lines = panel.sub_blocks / parts;
    let (x, x_sums) = x.first::<N>(lines);
    let mut sums = [Sums::zero(); N];
    #[expect(clippy::needless_range_loop, reason = "the line numbers activations and weights too")]
    for line in 0..lines {
        let mut x_sum = [0; N];
        for n in 0..N {
            x_sum[n] = x_sums[n][line];
        }
        for part in 0..parts {
            let index = line * parts + part;
            if layout.low_bits < 16 {
                panel.prefetch(&layout, index);
            }
            let dots = dot_products::<FORMAT, N>(panel, index, &x, x_sum);
            let scale = number(panel.scales, layout.scales, panel.grid, index);
            for n in 0..N {
                sums[n].add(dots[n], scale);
            }
            if const { LAYOUTS[FORMAT].has_mins() } {
                let min = number(panel.mins, layout.mins, panel.grid, index);
                for n in 0..N {
                    sums[n].add([_mm256_set1_epi32(x_sum[n]); 2], min);
                }
            }
        }
    }
    for (n, sums) in sums.iter().enumerate() {
        sums.store(out.at(0, n));
    }
    N
}

/// The codes of one sub-block times N rows, 16 rows of weights in 32-bit lanes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn dot_products<const FORMAT: FormatId, const N: usize>(
    panel: PanelView<'_>,
    index: usize,
    x: &[&[ActivationLine]; N],
    x_sum: [i32; N],
) -> [Lanes; N] {
    let layout = const { LAYOUTS[FORMAT] };
    let groups = const { LAYOUTS[FORMAT].steps() / 4 };
    let (line, first_group) = (index * groups / 4, index * groups % 4);
    let mut dots = [[_mm256_setzero_si256(); 2]; N];
    if let Centre::FromSum(bits) = layout.centre {
        for n in 0..N {
            dots[n] = [_mm256_set1_epi32(-(x_sum[n] << bits)); 2];
        }
    }
    let mut high = first_high::<FORMAT>(panel.high, index);
    for group in 0..groups {
        let lines = const { LAYOUTS[FORMAT].low_bits / 4 };
        let low = &panel.low[(index * groups + group) * lines..][..lines];
        let x = columns(x, line, first_group + group);
        add_step::<FORMAT, 0, N>(&mut dots, low, high, x);
        add_step::<FORMAT, 1, N>(&mut dots, low, high, x);
        add_step::<FORMAT, 2, N>(&mut dots, low, high, x);
        add_step::<FORMAT, 3, N>(&mut dots, low, high, x);
        high = next_high::<FORMAT>(high);
    }
    dots
}

/// Step `STEP` of four: two columns times N rows.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn add_step<const FORMAT: FormatId, const STEP: usize, const N: usize>(
    dots: &mut [Lanes; N],
    low: &[Line],
    high: Lanes,
    x: [&[i16; 8]; N],
) {
    let words = words_of::<FORMAT, STEP>(low, high);
    for n in 0..N {
        multiply_add(&mut dots[n], words, pair::<STEP>(x[n]));
    }
}

/// `sums + words[0] * pair[0] + words[1] * pair[1]` in lanes of two words.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn multiply_add(sums: &mut Lanes, words: Lanes, pair: __m256i) {
    for (sum, words) in sums.iter_mut().zip(words) {
        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(words, pair));
    }
}

/// Two neighbouring activations in every lane.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn pair<const STEP: usize>(x: &[i16; 8]) -> __m256i {
    let [first, second] = x.as_chunks::<2>().0[STEP];
    _mm256_set1_epi32(i32::from(second) << 16 | i32::from(first.cast_unsigned()))
}

/// 64-bit sums of the rows 0 to 7 and 8 to 15 with even and with odd numbers.
#[derive(Clone, Copy)]
struct Sums {
    even: Lanes,
    odd: Lanes,
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
    fn add(&mut self, a: Lanes, b: Lanes) {
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
        for (half, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            // Rows 0 1 4 5 and 2 3 6 7 of this half.
            let first = _mm256_unpacklo_epi64(self.even[half], self.odd[half]);
            let second = _mm256_unpackhi_epi64(self.even[half], self.odd[half]);
            // SAFETY: eight numbers of 64 bits are two registers; the stores need no alignment.
            unsafe {
                let out = out.as_mut_ptr().cast::<__m256i>();
                _mm256_storeu_si256(out, _mm256_permute2x128_si256::<0x20>(first, second));
                _mm256_storeu_si256(out.add(1), _mm256_permute2x128_si256::<0x31>(first, second));
            }
        }
    }
}

/// N rows times one panel of 16-bit weights, as 256 * high byte (signed) + low byte: over 32 columns the sums
/// stay below 32 * 255 * 2^15 < 2^28.
#[inline(never)]
#[target_feature(enable = "avx2,f16c")]
fn rows_times<const N: usize>(panel: PanelView<'_>, x: RowsView<'_>, out: &mut ProductsMut<'_>) -> usize {
    let (x, _) = x.first::<N>(x.lines_per_row);
    let mut sums = [Sums::zero(); N];
    for (index, lines) in panel.low.chunks_exact(LINE_COLS / 2).enumerate() {
        panel.prefetch(const { &LAYOUTS[ROWS] }, index);
        let mut low = [[_mm256_setzero_si256(); 2]; N];
        let mut high = [[_mm256_setzero_si256(); 2]; N];
        for (group, lines) in lines.as_chunks::<4>().0.iter().enumerate() {
            let x = columns(&x, index, group);
            add_row_step::<0, N>(&mut low, &mut high, lines, x);
            add_row_step::<1, N>(&mut low, &mut high, lines, x);
            add_row_step::<2, N>(&mut low, &mut high, lines, x);
            add_row_step::<3, N>(&mut low, &mut high, lines, x);
        }
        for n in 0..N {
            sums[n].add(low[n], [_mm256_set1_epi32(1); 2]);
            sums[n].add(high[n], [_mm256_set1_epi32(256); 2]);
        }
    }
    for (n, sums) in sums.iter().enumerate() {
        sums.store(out.at(0, n));
    }
    N
}

/// Step `STEP` of four: two columns of 16-bit weights times N rows.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn add_row_step<const STEP: usize, const N: usize>(
    low: &mut [Lanes; N],
    high: &mut [Lanes; N],
    lines: &[Line; 4],
    x: [&[i16; 8]; N],
) {
    let words = load(&lines[STEP]);
    let low_byte = _mm256_set1_epi16(255);
    let low_words = [_mm256_and_si256(words[0], low_byte), _mm256_and_si256(words[1], low_byte)];
    let high_words = [_mm256_srai_epi16::<8>(words[0]), _mm256_srai_epi16::<8>(words[1])];
    for n in 0..N {
        let pair = pair::<STEP>(x[n]);
        multiply_add(&mut low[n], low_words, pair);
        multiply_add(&mut high[n], high_words, pair);
    }
}

#[target_feature(enable = "avx2,f16c")]
fn expand_format<const FORMAT: FormatId>(panel: PanelView<'_>, out: &mut [Line]) {
    let from = const { LAYOUTS[FORMAT] };
    let to = const { LAYOUTS[LAYOUTS[FORMAT].expanded()] };
    let parts = PanelParts::new(&to, out, panel.sub_blocks);
    let groups = from.steps() / 4;
    let mut high = [_mm256_setzero_si256(); 2];
    let low = panel.low.chunks_exact(from.low_bits / 4);
    for (group, (low, words)) in low.zip(parts.low.as_chunks_mut::<4>().0).enumerate() {
        if group % groups == 0 {
            panel.prefetch(&from, group / groups);
            high = first_high::<FORMAT>(panel.high, group / groups);
        }
        store_words::<FORMAT, 0>(words, low, high);
        store_words::<FORMAT, 1>(words, low, high);
        store_words::<FORMAT, 2>(words, low, high);
        store_words::<FORMAT, 3>(words, low, high);
        high = next_high::<FORMAT>(high);
    }
    for index in 0..panel.sub_blocks {
        store(&mut parts.scales[index], number(panel.scales, from.scales, panel.grid, index));
        if let Some(line) = parts.mins.get_mut(index) {
            store(line, number(panel.mins, from.mins, panel.grid, index));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn store_words<const FORMAT: FormatId, const STEP: usize>(to: &mut [Line; 4], low: &[Line], high: Lanes) {
    let mut words = words_of::<FORMAT, STEP>(low, high);
    if let Centre::FromSum(bits) = const { LAYOUTS[FORMAT].centre } {
        for words in &mut words {
            *words = _mm256_sub_epi16(*words, _mm256_set1_epi16(1 << bits));
        }
    }
    store(&mut to[STEP], words);
}

/// The second plane of a sub-block, if there is one.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn first_high<const FORMAT: FormatId>(high: &[Line], index: usize) -> Lanes {
    if const { LAYOUTS[FORMAT].high_bits > 0 } { load(&high[index]) } else { [_mm256_setzero_si256(); 2] }
}

/// Moves the second plane on by four steps.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn next_high<const FORMAT: FormatId>(mut high: Lanes) -> Lanes {
    for high in &mut high {
        *high = shift_right(*high, const { 4 * LAYOUTS[FORMAT].high_bits as i32 });
    }
    high
}

/// The 16 rows' codes of two columns as words: step `STEP` of the four that are in the lines `low` of the
/// first plane and in the lowest bits of the words of `high`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn words_of<const FORMAT: FormatId, const STEP: usize>(low: &[Line], high: Lanes) -> Lanes {
    let layout = const { LAYOUTS[FORMAT] };
    let per_word = 16 / layout.low_bits;
    let field = STEP % per_word;
    let mut words = load(&low[STEP / per_word]);
    for (words, high) in words.iter_mut().zip(high) {
        *words = shift_right(*words, (field * layout.low_bits) as i32);
        if field + 1 < per_word {
            *words = _mm256_and_si256(*words, _mm256_set1_epi16((1 << layout.low_bits) - 1));
        }
        if layout.high_bits > 0 {
            // Moved to bit 4, above the first plane's.
            let moved = shift_right(high, (STEP * layout.high_bits) as i32 - 4);
            let mask = _mm256_set1_epi16(((1 << layout.high_bits) - 1) << 4);
            *words = _mm256_or_si256(*words, _mm256_and_si256(moved, mask));
        }
        if let Centre::FromCode(bits) = layout.centre {
            *words = _mm256_sub_epi16(*words, _mm256_set1_epi16(1 << bits));
        }
    }
    words
}

/// Words moved right by a constant, left if it is negative.
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
fn number(lines: &[Line], form: Numbers, grid: i32, index: usize) -> Lanes {
    match form {
        Numbers::None => [_mm256_set1_epi32(1); 2],
        Numbers::Int => load(&lines[index]),
        Numbers::Half => {
            let unit = _mm256_set1_ps(f32::from_bits((127 + grid).cast_unsigned() << 23));
            let halves = &lines[index / 2].0[index % 2 * 32..][..32];
            let mut numbers = [_mm256_setzero_si256(); 2];
            for (number, halves) in numbers.iter_mut().zip(halves.as_chunks::<16>().0) {
                // SAFETY: 16 bytes are there; the load needs no alignment.
                let halves = unsafe { _mm_loadu_si128(halves.as_ptr().cast()) };
                // Exact: an f16 is an f32 of 11 bits, times a power of two it still is, and the grid was
                // chosen such that the product is an integer of at most 31 bits, so that the conversion to
                // i32 has nothing to round.
                *number = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtph_ps(halves), unit));
            }
            numbers
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load(line: &Line) -> Lanes {
    let start = line.0.as_ptr().cast::<__m256i>();
    // SAFETY: a line is 64 aligned bytes.
    unsafe { [_mm256_load_si256(start), _mm256_load_si256(start.add(1))] }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn store(line: &mut Line, [first, second]: Lanes) {
    let start = line.0.as_mut_ptr().cast::<__m256i>();
    // SAFETY: a line is 64 aligned bytes.
    unsafe {
        _mm256_store_si256(start, first);
        _mm256_store_si256(start.add(1), second);
    }
}
