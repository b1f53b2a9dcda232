//! Two expanded panels times eight rows of activations: the inner loop of prefill with AVX-512. Never rounds;
//! the same sums as `avx512::sub_blocks_times`, of which it is the case that matters most, laid out by hand.

use std::arch::asm;
use std::arch::x86_64::*;

use super::activations::{ActivationLine, LINE_COLS, RowsView};
use super::avx512::{Sums, load};
use super::huge_buffer::Line;
use super::matmul::ProductsMut;
use super::panel::{FormatId, LAYOUTS, PanelView};

/// Rows of activations.
pub(super) const ROWS_TOGETHER: usize = 8;

/// The 32-bit dot products of one panel.
type Dots = [__m512i; ROWS_TOGETHER];

/// # Panics
/// If `x` has fewer than eight rows.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn words_times<const FORMAT: FormatId>(
    panels: &[PanelView<'_>; 2],
    x: RowsView<'_>,
    out: &mut ProductsMut<'_>,
) {
    let layout = const { LAYOUTS[FORMAT] };
    // A line of activations covers one sub-block of 32 columns or two of 16.
    let parts = const { LINE_COLS / LAYOUTS[FORMAT].sub_len };
    let lines = panels[0].sub_blocks / parts;
    let (rows, row_sums) = x.first::<ROWS_TOGETHER>(lines);
    let mut sums = [[Sums::zero(); ROWS_TOGETHER]; 2];
    for index in 0..panels[0].sub_blocks {
        let (line, part) = (index / parts, index % parts);
        let words =
            panels.each_ref().map(|panel| &panel.low[index * layout.low_lines()..][..layout.low_lines()]);
        // SAFETY: `first` found all eight rows, `x.lines_per_row` lines apart, with this line in each.
        let dots =
            unsafe { dot_products::<FORMAT>(words, rows[0].as_ptr().add(line), part, x.lines_per_row) };
        macro_rules! add_scaled {
            ($p:literal) => {
                let scale = load(&panels[$p].scales[index]);
                let scale_odd = _mm512_srli_epi64::<32>(scale);
                let (min, min_odd) = if layout.has_mins() {
                    let min = load(&panels[$p].mins[index]);
                    (min, _mm512_srli_epi64::<32>(min))
                } else {
                    (scale, scale_odd)
                };
                for n in 0..ROWS_TOGETHER {
                    let mut even = _mm512_mul_epi32(dots[$p][n], scale);
                    let mut odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(dots[$p][n]), scale_odd);
                    if layout.has_mins() {
                        let row_sum = _mm512_set1_epi32(row_sums[n][line]);
                        even = _mm512_add_epi64(even, _mm512_mul_epi32(row_sum, min));
                        odd = _mm512_add_epi64(odd, _mm512_mul_epi32(row_sum, min_odd));
                    }
                    sums[$p][n].even = _mm512_add_epi64(sums[$p][n].even, even);
                    sums[$p][n].odd = _mm512_add_epi64(sums[$p][n].odd, odd);
                }
            };
        }
        add_scaled!(0);
        add_scaled!(1);
    }
    for (p, sums) in sums.iter().enumerate() {
        for (n, sums) in sums.iter().enumerate() {
            sums.store(out.at(p, n));
        }
    }
}

/// The dot products of one sub-block of two panels. One block of assembly: compilers spill some of the 16 sums
/// that have to stay in registers, and check bounds between the steps.
///
/// # Safety
/// `x` is a line of the first of eight rows that are `stride` lines apart; the sub-block is part `part` of it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn dot_products<const FORMAT: FormatId>(
    words: [&[Line]; 2],
    x: *const ActivationLine,
    part: usize,
    stride: usize,
) -> [Dots; 2] {
    let zero = _mm512_setzero_si512();
    let [mut a, mut b] = [[zero; ROWS_TOGETHER]; 2];
    let stride = stride * size_of::<ActivationLine>();
    let x = x.cast::<u8>().wrapping_add(part * const { 2 * LAYOUTS[FORMAT].sub_len });
    let (mut _first, mut _second, mut _pair): (__m512i, __m512i, __m512i);
    // SAFETY: reads `steps` lines of each panel's words, which `low_lines` has, and four bytes per step of
    // each row, which the caller vouches for; writes nothing but its operands.
    unsafe {
        asm!(
            ".set .Lmaxwell_step, 0",
            ".rept {steps}",
            "vmovdqa64 {first}, [{w0} + 64 * .Lmaxwell_step]",
            "vmovdqa64 {second}, [{w1} + 64 * .Lmaxwell_step]",
            "vpbroadcastd {pair}, dword ptr [{x0} + 4 * .Lmaxwell_step]",
            "vpdpwssd {a0}, {first}, {pair}",
            "vpdpwssd {b0}, {second}, {pair}",
            "vpbroadcastd {pair}, dword ptr [{x0} + {stride} + 4 * .Lmaxwell_step]",
            "vpdpwssd {a1}, {first}, {pair}",
            "vpdpwssd {b1}, {second}, {pair}",
            "vpbroadcastd {pair}, dword ptr [{x0} + 2 * {stride} + 4 * .Lmaxwell_step]",
            "vpdpwssd {a2}, {first}, {pair}",
            "vpdpwssd {b2}, {second}, {pair}",
            "vpbroadcastd {pair}, dword ptr [{x3} + 4 * .Lmaxwell_step]",
            "vpdpwssd {a3}, {first}, {pair}",
            "vpdpwssd {b3}, {second}, {pair}",
            "vpbroadcastd {pair}, dword ptr [{x3} + {stride} + 4 * .Lmaxwell_step]",
            "vpdpwssd {a4}, {first}, {pair}",
            "vpdpwssd {b4}, {second}, {pair}",
            "vpbroadcastd {pair}, dword ptr [{x3} + 2 * {stride} + 4 * .Lmaxwell_step]",
            "vpdpwssd {a5}, {first}, {pair}",
            "vpdpwssd {b5}, {second}, {pair}",
            "vpbroadcastd {pair}, dword ptr [{x6} + 4 * .Lmaxwell_step]",
            "vpdpwssd {a6}, {first}, {pair}",
            "vpdpwssd {b6}, {second}, {pair}",
            "vpbroadcastd {pair}, dword ptr [{x6} + {stride} + 4 * .Lmaxwell_step]",
            "vpdpwssd {a7}, {first}, {pair}",
            "vpdpwssd {b7}, {second}, {pair}",
            ".set .Lmaxwell_step, .Lmaxwell_step + 1",
            ".endr",
            steps = const LAYOUTS[FORMAT].steps(),
            w0 = in(reg) words[0].as_ptr(), w1 = in(reg) words[1].as_ptr(),
            x0 = in(reg) x, x3 = in(reg) x.wrapping_add(3 * stride), x6 = in(reg) x.wrapping_add(6 * stride),
            stride = in(reg) stride,
            first = out(zmm_reg) _first, second = out(zmm_reg) _second, pair = out(zmm_reg) _pair,
            a0 = inout(zmm_reg) a[0], a1 = inout(zmm_reg) a[1], a2 = inout(zmm_reg) a[2],
            a3 = inout(zmm_reg) a[3], a4 = inout(zmm_reg) a[4], a5 = inout(zmm_reg) a[5],
            a6 = inout(zmm_reg) a[6], a7 = inout(zmm_reg) a[7],
            b0 = inout(zmm_reg) b[0], b1 = inout(zmm_reg) b[1], b2 = inout(zmm_reg) b[2],
            b3 = inout(zmm_reg) b[3], b4 = inout(zmm_reg) b[4], b5 = inout(zmm_reg) b[5],
            b6 = inout(zmm_reg) b[6], b7 = inout(zmm_reg) b[7],
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [a, b]
}
