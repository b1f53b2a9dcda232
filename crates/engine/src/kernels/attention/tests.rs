//! Every instruction set against plain sums over positions, in 128 bits.

use super::*;
use crate::kernels::tests::Random;

const DIMS: [usize; 8] = [2, 6, 34, 64, 80, 96, 128, 256];

/// (position, dim) numbers, with the extremes of `max` among them.
fn rows(random: &mut Random, positions: usize, dim: usize, max: i32) -> Vec<Vec<i16>> {
    let number = |random: &mut Random| match random.below(8) {
        0 => max as i16,
        1 => -max as i16,
        _ => random.signed(max) as i16,
    };
    (0..positions).map(|_| (0..dim).map(|_| number(random)).collect()).collect()
}

fn key_layout(keys: &[Vec<i16>], dim: usize) -> Vec<KeyPairs> {
    let mut layout = vec![KeyPairs::ZERO; keys.len().div_ceil(KEY_LANES) * dim / 2];
    for (position, key) in keys.iter().enumerate() {
        for (d, element) in key.iter().enumerate() {
            layout[position / KEY_LANES * dim / 2 + d / 2].0[position % KEY_LANES][d % 2] = *element;
        }
    }
    layout
}

fn value_layout(values: &[Vec<i16>], dim: usize) -> Vec<[i16; 2]> {
    let mut layout = vec![[0; 2]; values.len().div_ceil(2) * dim];
    for (position, value) in values.iter().enumerate() {
        for (d, element) in value.iter().enumerate() {
            layout[position / 2 * dim + d][position % 2] = *element;
        }
    }
    layout
}

#[test]
fn scores_equal_plain_sums_modulo_two_to_the_32() {
    let mut random = Random(3);
    for dim in DIMS {
        for positions in [1, 16, 17, 64, 65, 200] {
            for max in [100, 4000, 32_767, 32_768] {
                let query = &rows(&mut random, 1, dim, max)[0];
                let keys = rows(&mut random, positions, dim, max);
                let expected = keys.iter().map(|key| -> i128 {
                    key.iter().zip(query).map(|(k, q)| i128::from(*k) * i128::from(*q)).sum()
                });
                let expected: Vec<i32> = expected.map(|score| score as i32).collect();
                let layout = key_layout(&keys, dim);
                for isa in Isa::available() {
                    let mut got = vec![[7; KEY_LANES]; positions.div_ceil(KEY_LANES)];
                    scores(isa, query.as_chunks().0, &layout, &mut got);
                    assert_eq!(
                        got.as_flattened()[..positions],
                        expected,
                        "{} dim {dim} max {max}",
                        isa.name()
                    );
                }
            }
        }
    }
}

#[test]
fn weights_are_table_entries() {
    let mut random = Random(5);
    let table: Vec<u32> = (0..1000).map(|i| 32_767 - 32 * i).collect();
    for count in [1, 15, 16, 100, 333] {
        for (span, shift) in [(100, 0), (2000, 1), (1 << 20, 10), (i32::MAX, 21), (i32::MAX, 31)] {
            let scores: Vec<i32> = (0..count).map(|_| random.signed(span)).collect();
            let max = *scores.iter().max().expect("not empty");
            let expected = scores.iter().map(|score| {
                let distance = (i64::from(max) - i64::from(*score)) >> shift;
                if distance < 1000 { table[distance as usize] as i16 } else { 0 }
            });
            let expected: Vec<i16> = expected.collect();
            for isa in Isa::available() {
                let mut got = vec![-1; count];
                let sum = softmax_weights(isa, &scores, max, shift, &table, &mut got);
                assert_eq!(got, expected, "{} span {span} shift {shift}", isa.name());
                assert_eq!(sum, expected.iter().map(|&w| w as u64).sum::<u64>());
            }
        }
    }
}

fn check_weighted(weights: &[i16], values: &[Vec<i16>], dim: usize, value_max: u32) {
    let expected = (0..dim).map(|d| -> i128 {
        weights.iter().zip(values).map(|(w, value)| i128::from(*w) * i128::from(value[d])).sum()
    });
    let expected: Vec<i64> = expected.map(|sum| i64::try_from(sum).expect("47 bits at most")).collect();
    let layout = value_layout(values, dim);
    for isa in Isa::available() {
        let mut got = vec![7; dim];
        weighted_sum(isa, weights, &layout, value_max, &mut got);
        assert_eq!(got, expected, "{} dim {dim}, {} positions", isa.name(), weights.len());
    }
}

#[test]
fn weighted_sums_equal_plain_sums() {
    let mut random = Random(9);
    for dim in DIMS {
        for positions in [1, 2, 3, 16, 31, 257] {
            for (weight_max, value_max) in [(10, 10), (4095, 3000), (32_767, 32_767), (32_767, 32_768)] {
                let sparse = random.below(2) == 0;
                let weights: Vec<i16> =
                    (0..positions)
                        .map(|_| {
                            if sparse && random.below(8) > 0 {
                                0
                            } else {
                                random.below(weight_max + 1) as i16
                            }
                        })
                        .collect();
                let values = rows(&mut random, positions, dim, value_max);
                check_weighted(&weights, &values, dim, value_max.cast_unsigned());
            }
        }
    }
}

/// All weights and values at their ends: sums that would overflow 32 bits after two steps.
#[test]
fn largest_weighted_sums_are_exact() {
    for value in [i16::MIN, -32_767, 32_767] {
        let values = vec![vec![value; 80]; 999];
        check_weighted(&[32_767; 999], &values, 80, u32::from(value.unsigned_abs()));
    }
}
