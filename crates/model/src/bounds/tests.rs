//! Bounds against the largest accumulator that an adversary can reach: signs of the row itself.

use super::*;
use crate::weights::Weights;

fn matrix(rows: u32, cols: u32, grid: i32, values: Vec<i16>) -> Weights {
    Weights::from_rows("w", rows, cols, grid, values, vec![0; rows as usize]).expect("a valid matrix")
}

#[test]
fn worst_input_stays_below_the_bound_and_comes_close() {
    let values: Vec<i16> = (0..64_i16).map(|i| if i % 3 == 0 { -500 * i } else { 311 * i }).collect();
    let weights = matrix(2, 32, 10, values.clone());
    let bits = accumulator_bits(&weights, 15);
    let worst: i64 =
        values.chunks(32).map(|row| row.iter().map(|w| 32_767 * i64::from(*w).abs()).sum()).max().unwrap();
    assert!(worst < 1 << bits && worst >= 1 << (bits - 2), "{worst} against 2^{bits}");
}

#[test]
fn a_gate_too_wide_is_refused_by_name() {
    // Row L1 norm 4096 * 32767 << 12 = 2^39: 2^39 * 2^15 leaves 8 bits for the gate.
    let up = Weights::from_rows("blk.0.ffn_up.weight", 1, 4096, 10, vec![i16::MAX; 4096], vec![12]).unwrap();
    let error = gate_limit_bits(&up).unwrap_err();
    assert_eq!(error, Error::Bound { what: "blk.0.ffn_up.weight".to_owned(), bits: 70, limit: LIMIT_BITS });
}

#[test]
fn a_usual_gate_gets_the_activation_limit() {
    let up = matrix(1, 32, 10, vec![100; 32]);
    assert_eq!(gate_limit_bits(&up), Ok(ACTIVATION_LIMIT_BITS));
}
