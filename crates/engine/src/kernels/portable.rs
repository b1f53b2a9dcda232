//! The kernels in plain Rust: what the vector kernels must equal, and what runs where there are none. Never uses
//! `unsafe`.

use super::activations::{ActivationLine, LINE_COLS, RowsView};
use super::huge_buffer::Line;
use super::matmul::TILE;
use super::panel::{
    Centre, FormatId, LAYOUTS, Numbers, PANEL_ROWS, PanelParts, PanelView, ROWS, get, read_number, read_word, write_word,
};

/// Writes a panel's codes as signed words, and its scales and minima as 32-bit numbers, in the layout
/// [`super::panel::Layout::expanded`].
pub(super) fn expand(format: FormatId, panel: PanelView<'_>, out: &mut [Line]) {
    let (from, to) = (&LAYOUTS[format], &LAYOUTS[LAYOUTS[format].expanded()]);
    let centre = match from.centre {
        Centre::None => 0,
        Centre::FromSum(bits) | Centre::FromCode(bits) => 1 << bits,
    };
    let parts = PanelParts::new(to, out, panel.sub_blocks);
    for index in 0..panel.sub_blocks {
        let low = &panel.low[index * from.low_lines()..][..from.low_lines()];
        let high = &panel.high[index * from.high_lines()..][..from.high_lines()];
        let words = &mut parts.low[index * to.low_lines()..][..to.low_lines()];
        for lane in 0..PANEL_ROWS {
            for col in 0..from.sub_len {
                let mut code = get(low, from.low_bits, col, lane);
                if from.high_bits > 0 {
                    code |= get(high, from.high_bits, col, lane) << 4;
                }
                write_word(&mut words[col / 2], 2 * lane + col % 2, code.wrapping_sub(centre));
            }
            write_int(&mut parts.scales[index], lane, read_number(panel.scales, from.scales, panel.grid, index, lane));
            if from.mins != Numbers::None {
                write_int(&mut parts.mins[index], lane, read_number(panel.mins, from.mins, panel.grid, index, lane));
            }
        }
    }
}

/// Multiplies an expanded panel, or one of rows, with the first row of `x`.
pub(super) fn tile(
    format: FormatId,
    panel: PanelView<'_>,
    x: RowsView<'_>,
    out: &mut [[i64; PANEL_ROWS]; TILE],
) -> usize {
    let (lines, sums) = (&x.lines[..x.lines_per_row], &x.sums[..x.lines_per_row]);
    out[0] = [0; PANEL_ROWS];
    if format == ROWS {
        rows_times(panel, lines, &mut out[0]);
    } else {
        sub_blocks_times(format, panel, lines, sums, &mut out[0]);
    }
    1
}

fn sub_blocks_times(
    format: FormatId,
    panel: PanelView<'_>,
    x: &[ActivationLine],
    x_sums: &[i32],
    out: &mut [i64; PANEL_ROWS],
) {
    let layout = &LAYOUTS[format];
    for index in 0..panel.sub_blocks {
        let first = index * layout.sub_len;
        let x = &x[first / LINE_COLS].0[first % LINE_COLS..][..layout.sub_len];
        let words = &panel.low[index * layout.low_lines()..][..layout.low_lines()];
        let mut dots = [0_i32; PANEL_ROWS];
        for (line, x) in words.iter().zip(x.as_chunks::<2>().0) {
            for (lane, dot) in dots.iter_mut().enumerate() {
                for (col, &x) in x.iter().enumerate() {
                    *dot += i32::from(read_word(line, 2 * lane + col).cast_signed()) * i32::from(x);
                }
            }
        }
        for (lane, (out, dot)) in out.iter_mut().zip(dots).enumerate() {
            let scale = read_number(panel.scales, layout.scales, 0, index, lane);
            *out = out.wrapping_add(i64::from(dot) * i64::from(scale));
            if layout.mins != Numbers::None {
                let min = read_number(panel.mins, layout.mins, 0, index, lane);
                *out = out.wrapping_add(i64::from(x_sums[first / LINE_COLS]) * i64::from(min));
            }
        }
    }
}

/// 16-bit weights: the products do not fit a sum of 32 bits, so they are summed in 64.
fn rows_times(panel: PanelView<'_>, x: &[ActivationLine], out: &mut [i64; PANEL_ROWS]) {
    let pairs = x.iter().flat_map(|line| line.0.as_chunks::<2>().0);
    for (line, pair) in panel.low.iter().zip(pairs) {
        for (lane, out) in out.iter_mut().enumerate() {
            for (col, &x) in pair.iter().enumerate() {
                *out += i64::from(read_word(line, 2 * lane + col).cast_signed()) * i64::from(x);
            }
        }
    }
}

fn write_int(line: &mut Line, lane: usize, value: i32) {
    line.0[4 * lane..][..4].copy_from_slice(&value.to_le_bytes());
}
