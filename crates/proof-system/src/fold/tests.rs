//! Both sums against their definition, at random and at the ends of 32 bits.

use proptest::prelude::*;

use super::*;

fn element(seed: u64) -> Ext {
    let mut transcript = crate::transcript::Transcript::new(&seed.to_le_bytes());
    transcript.challenge(crate::transcript::Label::Batching)
}

fn integers() -> impl Strategy<Value = i32> {
    prop_oneof![any::<i32>(), Just(i32::MIN), Just(i32::MAX), Just(0)]
}

/// Of 23 bits with their sign, which take another way.
fn small() -> impl Strategy<Value = i32> {
    prop_oneof![-SMALL + 1..SMALL, Just(SMALL - 1), Just(1 - SMALL)]
}

proptest! {
    #[test]
    fn sums_are_those_of_the_definition(
        (columns, matrix) in (1_usize..40).prop_flat_map(|columns| {
            let matrix = prop_oneof![
                proptest::collection::vec(integers(), 0..60 * columns),
                proptest::collection::vec(small(), 0..60 * columns),
            ];
            (Just(columns), matrix)
        }),
        seed in any::<u32>(),
    ) {
        let rows = matrix.len() / columns;
        let matrix = &matrix[..rows * columns];
        let by_row: Vec<Ext> = (0..rows).map(|r| element(u64::from(seed) + r as u64)).collect();
        let by_column: Vec<Ext> = (0..columns).map(|c| element(u64::from(seed) ^ (c as u64) << 40)).collect();
        let at = |r: usize, c: usize| Ext::from_signed(i64::from(matrix[r * columns + c]));
        for isa in Isa::available() {
            let expected: Vec<Ext> =
                (0..columns).map(|c| (0..rows).map(|r| by_row[r] * at(r, c)).sum()).collect();
            prop_assert_eq!(combine_rows(isa, matrix, columns, &by_row), expected);
            let expected: Vec<Ext> =
                (0..rows).map(|r| (0..columns).map(|c| by_column[c] * at(r, c)).sum()).collect();
            prop_assert_eq!(fold_rows(isa, matrix, &by_column), expected);
        }
    }
}

#[test]
fn the_largest_sums_do_not_wrap() {
    let cut = (1 << 63) - (1 << 31);
    let ends = [PRIME - 1, PRIME / 2, PRIME / 2 + 1, cut - 1, cut, cut + 1];
    for (isa, end) in Isa::available().into_iter().flat_map(|isa| ends.map(|end| (isa, end))) {
        let largest = Ext::new(Base::new(end), Base::new(end));
        for value in [i32::MIN, i32::MAX, SMALL - 1, 1 - SMALL] {
            let matrix = vec![value; 3000 * 3];
            let expected: Ext =
                std::iter::repeat_n(largest * Base::from_signed(i64::from(value)), 3000).sum();
            assert_eq!(combine_rows(isa, &matrix, 3, &vec![largest; 3000]), vec![expected; 3]);
            let expected: Ext = std::iter::repeat_n(largest * Base::from_signed(i64::from(value)), 512).sum();
            assert_eq!(fold_rows(isa, &vec![value; 1024], &vec![largest; 512]), vec![expected; 2]);
            let expected = expected + expected + expected;
            assert_eq!(fold_rows(isa, &vec![value; 3072], &vec![largest; 1536]), vec![expected; 2]);
        }
    }
}
