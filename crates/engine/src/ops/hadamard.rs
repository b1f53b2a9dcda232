//! Gate requantization, activation table and gated product in one pass; see `model::ops::{activation,
//! hadamard}`.

use model::ops::requantize::ACTIVATION_LIMIT_BITS;

use super::requantize::{Rounding, keep_in_range};

/// Constants of one block's gated product.
#[derive(Clone, Copy, Debug)]
pub struct GateRule<'t> {
    /// The activation, 2^16 entries.
    pub table: &'t [i16],
    /// From the gate accumulator's exponent to the gate's.
    pub gate_shift: i32,
    /// Magnitudes of the gate stay below 2^this.
    pub gate_limit_bits: u32,
    /// From the product's exponent to that of the down projection's input.
    pub product_shift: i32,
}

/// Elements that are worked on at a time: rounding and products are vector code, the table between them is not.
const RUN: usize = 64;

/// `out = round(f(round(gate)) * up)`. False, and the row cleared, if gate or product leave their range.
#[must_use]
pub fn gated_product(gate_acc: &[i64], up_acc: &[i64], rule: GateRule<'_>, out: &mut [i32]) -> bool {
    let (gate_rounding, rounding) = (Rounding::new(rule.gate_shift), Rounding::new(rule.product_shift));
    let table: &[i16; 1 << 16] = rule.table.try_into().expect("activation tables have 2^16 entries");
    let (mut gates, mut magnitudes) = (0_u64, 0_u64);
    let mut activated = [0_i64; RUN];
    for ((out, gate), up) in out.chunks_mut(RUN).zip(gate_acc.chunks(RUN)).zip(up_acc.chunks(RUN)) {
        for (g, acc) in activated.iter_mut().zip(gate) {
            *g = gate_rounding.apply(*acc);
            gates |= g.unsigned_abs();
        }
        for g in &mut activated[..gate.len()] {
            *g = match i16::try_from(*g) {
                Ok(g) => i64::from(table[usize::from((g as u16) ^ 0x8000)]),
                Err(_) => (*g).max(0),
            };
        }
        for ((out, g), up) in out.iter_mut().zip(activated).zip(up) {
            // Wrapping: a gate beyond its limit may overflow here, and is reported below.
            let y = rounding.apply(g.wrapping_mul(*up));
            magnitudes |= y.unsigned_abs();
            *out = y as i32;
        }
    }
    let gate_in_range = gates >> rule.gate_limit_bits == 0;
    keep_in_range(if gate_in_range { magnitudes } else { u64::MAX }, ACTIVATION_LIMIT_BITS, out)
}
