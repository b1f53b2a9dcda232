//! The kernels for AVX-512 with VNNI: 16 rows in the lanes of a register, one or two panels and up to eight
//! rows of activations at a time. Never rounds: every lane holds an integer below its range, as argued in
//! `kernels.rs`.

use std::arch::asm;
use std::arch::x86_64::*;
use std::array;

use super::activations::{ActivationLine, LINE_COLS, RowsView, columns};
use super::avx512_words::{ROWS_TOGETHER, words_times};
use super::huge_buffer::Line;
use super::matmul::ProductsMut;
use super::panel::{
    Centre, FormatId, LAYOUTS, Numbers, PANEL_ROWS, PanelParts, PanelView, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1,
    Q5_K, Q6_K, Q8_0, ROWS, WORDS, WORDS_MIN, WORDS_SHORT,
};

/// See [`super::portable::expand`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
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

/// Multiplies one or two panels with the first rows of `x` and returns how many rows. Only expanded panels come
/// in twos.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn tile(
    format: FormatId,
    panels: &[PanelView<'_>],
    x: RowsView<'_>,
    out: &mut ProductsMut<'_>,
) -> usize {
    if let Ok(panels) = panels.try_into() {
        return match format {
            WORDS_MIN => tile_two::<WORDS_MIN>(panels, x, out),
            WORDS => tile_two::<WORDS>(panels, x, out),
            WORDS_SHORT => tile_two::<WORDS_SHORT>(panels, x, out),
            _ => unreachable!("two panels of format {format}"),
        };
    }
    match (format, panels) {
        (Q4_0, &[panel]) => tile_one::<Q4_0>(panel, x, out),
        (Q4_1, &[panel]) => tile_one::<Q4_1>(panel, x, out),
        (Q5_0, &[panel]) => tile_one::<Q5_0>(panel, x, out),
        (Q5_1, &[panel]) => tile_one::<Q5_1>(panel, x, out),
        (Q8_0, &[panel]) => tile_one::<Q8_0>(panel, x, out),
        (Q4_K, &[panel]) => tile_one::<Q4_K>(panel, x, out),
        (Q5_K, &[panel]) => tile_one::<Q5_K>(panel, x, out),
        (Q6_K, &[panel]) => tile_one::<Q6_K>(panel, x, out),
        (ROWS, &[panel]) => tile_rows(panel, x, out),
        (WORDS_MIN, &[panel]) => tile_one::<WORDS_MIN>(panel, x, out),
        (WORDS, &[panel]) => tile_one::<WORDS>(panel, x, out),
        (WORDS_SHORT, &[panel]) => tile_one::<WORDS_SHORT>(panel, x, out),
        _ => unreachable!("{} panels of format {format}", panels.len()),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile_one<const FORMAT: FormatId>(
    panel: PanelView<'_>,
    x: RowsView<'_>,
    out: &mut ProductsMut<'_>,
) -> usize {
    match x.rows() {
        0 => 0,
        1 => sub_blocks_times::<FORMAT, 1, 1, 4>(&[panel], x, out),
        2 | 3 => sub_blocks_times::<FORMAT, 1, 2, 4>(&[panel], x, out),
        4..8 => sub_blocks_times::<FORMAT, 1, 4, 2>(&[panel], x, out),
        _ => sub_blocks_times::<FORMAT, 1, 8, 1>(&[panel], x, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile_two<const FORMAT: FormatId>(
    panels: &[PanelView<'_>; 2],
    x: RowsView<'_>,
    out: &mut ProductsMut<'_>,
) -> usize {
    match x.rows() {
        0 => 0,
        1 => sub_blocks_times::<FORMAT, 2, 1, 4>(panels, x, out),
        2 | 3 => sub_blocks_times::<FORMAT, 2, 2, 2>(panels, x, out),
        4..ROWS_TOGETHER => sub_blocks_times::<FORMAT, 2, 4, 1>(panels, x, out),
        _ => {
            words_times::<FORMAT>(panels, x, out);
            ROWS_TOGETHER
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile_rows(panel: PanelView<'_>, x: RowsView<'_>, out: &mut ProductsMut<'_>) -> usize {
    match x.rows() {
        0 => 0,
        1 => rows_times::<1>(panel, x, out),
        2 | 3 => rows_times::<2>(panel, x, out),
        _ => rows_times::<4>(panel, x, out),
    }
}

/// P panels of sub-blocks times N rows. Each dot product is summed in `CHAINS` parts: with a latency of five
/// cycles and two ports, fewer than ten sums in flight leave the ports idle.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn sub_blocks_times<const FORMAT: FormatId, const P: usize, const N: usize, const CHAINS: usize>(
    panels: &[PanelView<'_>; P],
    x: RowsView<'_>,
    out: &mut ProductsMut<'_>,
) -> usize {
    let layout = const { LAYOUTS[FORMAT] };
    // A line of activations covers one sub-block of 32 columns or two of 16.
    let parts = const { LINE_COLS / LAYOUTS[FORMAT].sub_len };
    let lines = panels[0].sub_blocks / parts;
    let (x, x_sums) = x.first::<N>(lines);
    let mut sums = [[Sums::zero(); N]; P];
    #[expect(clippy::needless_range_loop, reason = "the line numbers activations and weights too")]
    for line in 0..lines {
        let mut x_sum = [_mm512_setzero_si512(); N];
        for n in 0..N {
            x_sum[n] = _mm512_set1_epi32(x_sums[n][line]);
        }
        for part in 0..parts {
            let index = line * parts + part;
            if layout.low_bits < 16 {
                panels[0].prefetch(&layout, index);
            }
            let dots = dot_products::<FORMAT, P, N, CHAINS>(panels, index, &x, &x_sum);
            for p in 0..P {
                let scale = number(panels[p].scales, layout.scales, panels[p].grid, index);
                for n in 0..N {
                    sums[p][n].add(dots[p][n], scale);
                }
                if const { LAYOUTS[FORMAT].has_mins() } {
                    let min = number(panels[p].mins, layout.mins, panels[p].grid, index);
                    for n in 0..N {
                        sums[p][n].add(x_sum[n], min);
                    }
                }
            }
        }
    }
    for (p, sums) in sums.iter().enumerate() {
        for (n, sums) in sums.iter().enumerate() {
            sums.store(out.at(p, n));
        }
    }
    N
}

/// The codes of one sub-block times N rows, 16 rows of weights in 32-bit lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_products<const FORMAT: FormatId, const P: usize, const N: usize, const CHAINS: usize>(
    panels: &[PanelView<'_>; P],
    index: usize,
    x: &[&[ActivationLine]; N],
    x_sum: &[__m512i; N],
) -> [[__m512i; N]; P] {
    let layout = const { LAYOUTS[FORMAT] };
    let groups = const { LAYOUTS[FORMAT].steps() / 4 };
    let (line, first_group) = (index * groups / 4, index * groups % 4);
    let mut dots = [[[_mm512_setzero_si512(); CHAINS]; N]; P];
    let mut high = [_mm512_setzero_si512(); P];
    for p in 0..P {
        high[p] = first_high::<FORMAT>(panels[p].high, index);
        if let Centre::FromSum(bits) = layout.centre {
            for n in 0..N {
                dots[p][n][0] = _mm512_sub_epi32(dots[p][n][0], shift_left(x_sum[n], bits));
            }
        }
    }
    for group in 0..groups {
        let low = low_groups::<FORMAT, P>(panels, index * groups + group);
        let x = columns(x, line, first_group + group);
        add_step::<FORMAT, 0, P, N, CHAINS>(&mut dots, low, high, x);
        add_step::<FORMAT, 1, P, N, CHAINS>(&mut dots, low, high, x);
        add_step::<FORMAT, 2, P, N, CHAINS>(&mut dots, low, high, x);
        add_step::<FORMAT, 3, P, N, CHAINS>(&mut dots, low, high, x);
        for high in &mut high {
            *high = next_high::<FORMAT>(*high);
        }
    }
    let mut whole = [[_mm512_setzero_si512(); N]; P];
    for p in 0..P {
        for n in 0..N {
            for part in dots[p][n] {
                whole[p][n] = _mm512_add_epi32(whole[p][n], part);
            }
        }
    }
    whole
}

/// Step `STEP` of four: two columns of P panels times N rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_step<
    const FORMAT: FormatId,
    const STEP: usize,
    const P: usize,
    const N: usize,
    const CHAINS: usize,
>(
    dots: &mut [[[__m512i; CHAINS]; N]; P],
    low: [&[Line]; P],
    high: [__m512i; P],
    x: [&[i16; 8]; N],
) {
    let mut words = [_mm512_setzero_si512(); P];
    for p in 0..P {
        words[p] = words_of::<FORMAT, STEP>(low[p], high[p]);
    }
    for n in 0..N {
        let mut sums = words;
        for p in 0..P {
            sums[p] = dots[p][n][STEP % CHAINS];
        }
        multiply_add::<STEP, P>(&mut sums, &words, x[n]);
        for p in 0..P {
            dots[p][n][STEP % CHAINS] = sums[p];
        }
    }
}

/// `sums[p] += words[p][0] * x[2 * STEP] + words[p][1] * x[2 * STEP + 1]` in lanes of two words, for one or
/// two panels.
///
/// Not the intrinsic: LLVM takes that apart into two slower instructions where it expects to shorten a chain
/// of sums, and loads `x` so early that registers run out. Two panels share one load, as the load ports are
/// the next limit.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn multiply_add<const STEP: usize, const P: usize>(
    sums: &mut [__m512i; P],
    words: &[__m512i; P],
    x: &[i16; 8],
) {
    const { assert!(STEP < 4 && (P == 1 || P == 2)) };
    // SAFETY: reads four of the 16 bytes of `x`, and writes nothing but its operands.
    unsafe {
        if P == 1 {
            asm!(
                "vpdpwssd {sum}, {words}, dword ptr [{x} + {offset}]{{1to16}}",
                sum = inout(zmm_reg) sums[0], words = in(zmm_reg) words[0],
                x = in(reg) x, offset = const 4 * STEP,
                options(pure, readonly, nostack, preserves_flags),
            );
        } else {
            let mut _pair: __m512i;
            asm!(
                "vpbroadcastd {pair}, dword ptr [{x} + {offset}]",
                "vpdpwssd {first}, {first_words}, {pair}",
                "vpdpwssd {second}, {second_words}, {pair}",
                first = inout(zmm_reg) sums[0], first_words = in(zmm_reg) words[0],
                second = inout(zmm_reg) sums[P - 1], second_words = in(zmm_reg) words[P - 1],
                pair = out(zmm_reg) _pair, x = in(reg) x, offset = const 4 * STEP,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
    }
}

/// 64-bit sums of the rows with even and with odd numbers.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub(super) even: __m512i,
    pub(super) odd: __m512i,
}

impl Sums {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn zero() -> Sums {
        Sums { even: _mm512_setzero_si512(), odd: _mm512_setzero_si512() }
    }

    /// Adds products of 32-bit lanes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn add(&mut self, a: __m512i, b: __m512i) {
        // `vpmuldq` multiplies the low halves of 64-bit lanes, signed.
        let (a_odd, b_odd) = (_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b));
        self.even = _mm512_add_epi64(self.even, _mm512_mul_epi32(a, b));
        self.odd = _mm512_add_epi64(self.odd, _mm512_mul_epi32(a_odd, b_odd));
    }

    /// Puts even and odd rows back in order.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn store(&self, out: &mut [i64; PANEL_ROWS]) {
        let (even, odd) = (self.even, self.odd);
        let first = _mm512_permutex2var_epi64(even, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), odd);
        let second = _mm512_permutex2var_epi64(even, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), odd);
        // SAFETY: 16 numbers of 64 bits are two registers; the stores need no alignment.
        unsafe {
            _mm512_storeu_si512(out.as_mut_ptr().cast(), first);
            _mm512_storeu_si512(out.as_mut_ptr().add(8).cast(), second);
        }
    }
}

/// N rows times one panel of 16-bit weights, as 256 * high byte (signed) + low byte: over 32 columns the sums
/// stay below 32 * 255 * 2^15 < 2^28.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn rows_times<const N: usize>(panel: PanelView<'_>, x: RowsView<'_>, out: &mut ProductsMut<'_>) -> usize {
    let (x, _) = x.first::<N>(x.lines_per_row);
    let mut sums = [Sums::zero(); N];
    for (index, lines) in panel.low.chunks_exact(LINE_COLS / 2).enumerate() {
        panel.prefetch(const { &LAYOUTS[ROWS] }, index);
        let mut low = [_mm512_setzero_si512(); N];
        let mut high = [_mm512_setzero_si512(); N];
        for (group, lines) in lines.as_chunks::<4>().0.iter().enumerate() {
            let x = columns(&x, index, group);
            add_row_step::<0, N>(&mut low, &mut high, lines, x);
            add_row_step::<1, N>(&mut low, &mut high, lines, x);
            add_row_step::<2, N>(&mut low, &mut high, lines, x);
            add_row_step::<3, N>(&mut low, &mut high, lines, x);
        }
        for n in 0..N {
            sums[n].add(low[n], _mm512_set1_epi32(1));
            sums[n].add(high[n], _mm512_set1_epi32(256));
        }
    }
    for (n, sums) in sums.iter().enumerate() {
        sums.store(out.at(0, n));
    }
    N
}

/// Step `STEP` of four: two columns of 16-bit weights times N rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_row_step<const STEP: usize, const N: usize>(
    low: &mut [__m512i; N],
    high: &mut [__m512i; N],
    lines: &[Line; 4],
    x: [&[i16; 8]; N],
) {
    let words = load(&lines[STEP]);
    let (low_words, high_words) =
        (_mm512_and_si512(words, _mm512_set1_epi16(255)), _mm512_srai_epi16::<8>(words));
    for n in 0..N {
        let mut sums = [low[n], high[n]];
        multiply_add::<STEP, 2>(&mut sums, &[low_words, high_words], x[n]);
        [low[n], high[n]] = sums;
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn expand_format<const FORMAT: FormatId>(panel: PanelView<'_>, out: &mut [Line]) {
    let from = const { LAYOUTS[FORMAT] };
    let to = const { LAYOUTS[LAYOUTS[FORMAT].expanded()] };
    let parts = PanelParts::new(&to, out, panel.sub_blocks);
    let groups = from.steps() / 4;
    let mut high = _mm512_setzero_si512();
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
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn store_words<const FORMAT: FormatId, const STEP: usize>(to: &mut [Line; 4], low: &[Line], high: __m512i) {
    let mut words = words_of::<FORMAT, STEP>(low, high);
    if let Centre::FromSum(bits) = const { LAYOUTS[FORMAT].centre } {
        words = _mm512_sub_epi16(words, _mm512_set1_epi16(1 << bits));
    }
    store(&mut to[STEP], words);
}

/// The lines of the first plane that hold group `group` of four steps of each panel.
#[inline(always)]
pub(super) fn low_groups<'a, const FORMAT: FormatId, const P: usize>(
    panels: &[PanelView<'a>; P],
    group: usize,
) -> [&'a [Line]; P] {
    let lines = const { LAYOUTS[FORMAT].low_bits / 4 };
    array::from_fn(|p| &panels[p].low[group * lines..][..lines])
}

/// The second plane of a sub-block, if there is one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn first_high<const FORMAT: FormatId>(high: &[Line], index: usize) -> __m512i {
    if const { LAYOUTS[FORMAT].high_bits > 0 } { load(&high[index]) } else { _mm512_setzero_si512() }
}

/// Moves the second plane on by four steps.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn next_high<const FORMAT: FormatId>(high: __m512i) -> __m512i {
    match const { LAYOUTS[FORMAT].high_bits } {
        1 => _mm512_srli_epi16::<4>(high),
        2 => _mm512_srli_epi16::<8>(high),
        _ => high,
    }
}

/// The 16 rows' codes of two columns as words: step `STEP` of the four that are in the lines `low` of the
/// first plane and in the lowest bits of the words of `high`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn words_of<const FORMAT: FormatId, const STEP: usize>(low: &[Line], high: __m512i) -> __m512i {
    let layout = const { LAYOUTS[FORMAT] };
    let per_word = 16 / layout.low_bits;
    let field = STEP % per_word;
    let mut words = shift_right(load(&low[STEP / per_word]), (field * layout.low_bits) as i32);
    if field + 1 < per_word {
        words = _mm512_and_si512(words, _mm512_set1_epi16((1 << layout.low_bits) - 1));
    }
    if layout.high_bits > 0 {
        // Moved to bit 4, above the first plane's.
        let moved = shift_right(high, (STEP * layout.high_bits) as i32 - 4);
        let mask = _mm512_set1_epi16(((1 << layout.high_bits) - 1) << 4);
        words = _mm512_or_si512(words, _mm512_and_si512(moved, mask));
    }
    if let Centre::FromCode(bits) = layout.centre {
        words = _mm512_sub_epi16(words, _mm512_set1_epi16(1 << bits));
    }
    words
}

/// Words moved right by a constant, left if it is negative.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn shift_right(words: __m512i, bits: i32) -> __m512i {
    if bits >= 0 {
        _mm512_srl_epi16(words, _mm_cvtsi32_si128(bits))
    } else {
        _mm512_sll_epi16(words, _mm_cvtsi32_si128(-bits))
    }
}

/// 32-bit lanes moved left by a constant.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn shift_left(lanes: __m512i, bits: u32) -> __m512i {
    _mm512_sll_epi32(lanes, _mm_cvtsi32_si128(bits.cast_signed()))
}

/// 16 rows' scales or minima as integers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn number(lines: &[Line], form: Numbers, grid: i32, index: usize) -> __m512i {
    match form {
        Numbers::None => _mm512_set1_epi32(1),
        Numbers::Int => load(&lines[index]),
        Numbers::Half => {
            let halves = &lines[index / 2].0[index % 2 * 32..][..32];
            // SAFETY: 32 bytes are there; the load needs no alignment.
            let halves = unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) };
            // Exact: an f16 is an f32 of 11 bits, times a power of two it still is, and the grid was chosen
            // such that the product is an integer of at most 31 bits, so that the conversion to i32 has
            // nothing to round.
            let unit = f32::from_bits((127 + grid).cast_unsigned() << 23);
            _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(unit)))
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn load(line: &Line) -> __m512i {
    // SAFETY: a line is 64 aligned bytes.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn store(line: &mut Line, value: __m512i) {
    // SAFETY: a line is 64 aligned bytes.
    unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), value) }
}

/// See [`super::peak::product_peak`]: 16 independent chains hide the latency of five cycles on two ports.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn product_peak(iterations: u64) -> u64 {
    const CHAINS: usize = 16;
    let words = std::hint::black_box(_mm512_set1_epi16(3));
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    for _ in 0..iterations {
        for sum in &mut sums {
            // SAFETY: reads and writes nothing but its operands.
            unsafe {
                asm!(
                    "vpdpwssd {sum}, {words}, {words}",
                    sum = inout(zmm_reg) *sum, words = in(zmm_reg) words,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
    }
    std::hint::black_box(sums);
    iterations * CHAINS as u64 * 32
}
