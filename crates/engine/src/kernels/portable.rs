//! The kernels in plain Rust: what the vector kernels must equal, and what runs where there are none. Never
//! uses `unsafe`.

use super::activations::{ActivationLine, LINE_COLS, RowsView};
use super::huge_buffer::Line;
use super::matmul::ProductsMut;
use super::panel::{
    Centre, FormatId, LAYOUTS, Layout, PANEL_ROWS, PanelParts, PanelView, ROWS, read_ints, read_number,
    read_words, write_int, write_words,
};

/// Writes a panel's codes as signed words, and its scales and minima as 32-bit numbers, in the layout
/// [`Layout::expanded`].
pub(super) fn expand(format: FormatId, panel: PanelView<'_>, out: &mut [Line]) {
    let (from, to) = (&LAYOUTS[format], &LAYOUTS[LAYOUTS[format].expanded()]);
    let parts = PanelParts::new(to, out, panel.sub_blocks);
    for index in 0..panel.sub_blocks {
        let low = &panel.low[index * from.low_lines()..][..from.low_lines()];
        let high = &panel.high[index * from.high_lines()..][..from.high_lines()];
        let words = &mut parts.low[index * to.low_lines()..][..to.low_lines()];
        for (step, line) in words.iter_mut().enumerate() {
            write_words(line, words_of(from, low, high, step));
        }
        for lane in 0..PANEL_ROWS {
            write_int(
                &mut parts.scales[index],
                lane,
                read_number(panel.scales, from.scales, panel.grid, index, lane),
            );
            if from.has_mins() {
                write_int(
                    &mut parts.mins[index],
                    lane,
                    read_number(panel.mins, from.mins, panel.grid, index, lane),
                );
            }
        }
    }
}

/// The 16 rows' codes of two columns, less the code that stands for zero.
fn words_of(layout: &Layout, low: &[Line], high: &[Line], step: usize) -> [u16; 2 * PANEL_ROWS] {
    let centre = match layout.centre {
        Centre::None => 0,
        Centre::FromSum(bits) | Centre::FromCode(bits) => 1 << bits,
    };
    let mut words = plane_words(low, layout.low_bits, step);
    if layout.high_bits > 0 {
        for (word, high) in words.iter_mut().zip(plane_words(high, layout.high_bits, step)) {
            *word |= high << 4;
        }
    }
    words.map(|word| word.wrapping_sub(centre))
}

/// The codes of one step in a plane of 1, 2, 4 or 8 bits.
fn plane_words(plane: &[Line], bits: usize, step: usize) -> [u16; 2 * PANEL_ROWS] {
    let per_word = 16 / bits;
    let (shift, mask) = (bits * (step % per_word), (1 << bits) - 1);
    read_words(&plane[step / per_word]).map(|word| word >> shift & mask)
}

/// Multiplies an expanded panel, or one of rows, with the first row of `x`.
pub(super) fn tile(
    format: FormatId,
    panel: PanelView<'_>,
    x: RowsView<'_>,
    out: &mut ProductsMut<'_>,
) -> usize {
    let (lines, sums) = (&x.lines[..x.lines_per_row], &x.sums[..x.lines_per_row]);
    let out = out.at(0, 0);
    *out = [0; PANEL_ROWS];
    if format == ROWS {
        rows_times(panel, lines, out);
    } else {
        sub_blocks_times(&LAYOUTS[format], panel, lines, sums, out);
    }
    1
}

fn sub_blocks_times(
    layout: &Layout,
    panel: PanelView<'_>,
    x: &[ActivationLine],
    x_sums: &[i32],
    out: &mut [i64; PANEL_ROWS],
) {
    for index in 0..panel.sub_blocks {
        let first = index * layout.sub_len;
        let x = &x[first / LINE_COLS].0[first % LINE_COLS..][..layout.sub_len];
        let words = &panel.low[index * layout.low_lines()..][..layout.low_lines()];
        let mut dots = [0_i32; PANEL_ROWS];
        for (line, [first, second]) in words.iter().zip(x.as_chunks::<2>().0) {
            // Two words as one number, so that the loop is the same operation in all lanes and vectorizes.
            for (dot, pair) in dots.iter_mut().zip(read_ints(line)) {
                *dot += (pair << 16 >> 16) * i32::from(*first) + (pair >> 16) * i32::from(*second);
            }
        }
        add_products(out, &dots, &read_ints(&panel.scales[index]));
        if layout.has_mins() {
            add_products(out, &[x_sums[first / LINE_COLS]; PANEL_ROWS], &read_ints(&panel.mins[index]));
        }
    }
}

fn add_products(out: &mut [i64; PANEL_ROWS], a: &[i32; PANEL_ROWS], b: &[i32; PANEL_ROWS]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = out.wrapping_add(i64::from(*a) * i64::from(*b));
    }
}

/// 16-bit weights: the products do not fit a sum of 32 bits, so they are summed in 64.
fn rows_times(panel: PanelView<'_>, x: &[ActivationLine], out: &mut [i64; PANEL_ROWS]) {
    let pairs = x.iter().flat_map(|line| line.0.as_chunks::<2>().0);
    for (line, [first, second]) in panel.low.iter().zip(pairs) {
        for (out, pair) in out.iter_mut().zip(read_ints(line)) {
            *out +=
                i64::from(pair << 16 >> 16) * i64::from(*first) + i64::from(pair >> 16) * i64::from(*second);
        }
    }
}
