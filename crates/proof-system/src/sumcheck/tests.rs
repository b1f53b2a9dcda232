//! Products of random columns of odd dimensions against sums and evaluations by definition.

use proptest::prelude::*;

use super::*;
use crate::kernels::Isa;
use crate::multilinear::{ExtColumn, eq_table};
use crate::transcript::Transcript;

fn column(seed: u64, length: usize) -> ExtColumn {
    let mut transcript = Transcript::new(&seed.to_le_bytes());
    transcript.challenges(Label::Batching, length).into_iter().collect()
}

/// The value of a column at a point, by definition: the sum of its elements times eq of each dimension.
fn value(column: &ExtColumn, dimensions: &[usize], point: &[Ext]) -> Ext {
    let mut weights = vec![Ext::ONE];
    let mut rest = point;
    for dimension in dimensions {
        let (own, others) = rest.split_at(bits(*dimension));
        rest = others;
        let eq: Vec<Ext> = eq_table(Isa::PORTABLE, own, Ext::ONE).iter().take(*dimension).collect();
        weights = weights.iter().flat_map(|w| eq.iter().map(move |e| *w * *e)).collect();
    }
    column.iter().zip(weights).map(|(v, w)| v * w).sum()
}

fn check<const K: usize>(dimensions: &[usize], seed: u64) {
    let length = dimensions.iter().product();
    let columns: [ExtColumn; K] = std::array::from_fn(|k| column(seed * 7 + k as u64, length));
    let claim: Ext = (0..length).map(|i| columns.iter().map(|c| c.get(i).unwrap()).product()).sum();
    let mut ends = Vec::new();
    for isa in Isa::available() {
        let mut transcript = Transcript::new(b"sumcheck");
        let (messages, point, finals) = prove(columns.clone(), dimensions, claim, isa, &mut transcript);
        assert_eq!(point.len(), variables(dimensions));
        let mut verifier = Transcript::new(b"sumcheck");
        let mut left = claim;
        for (message, x) in messages.iter().zip(&point) {
            let (drawn, next) = next_claim(*message, left, &mut verifier);
            assert_eq!(drawn, *x);
            left = next;
        }
        assert_eq!(left, finals.into_iter().product());
        for (column, end) in columns.iter().zip(finals) {
            assert_eq!(value(column, dimensions, &point), end);
        }
        // Near miss: a claim that is wrong by one is left with another product.
        let mut verifier = Transcript::new(b"sumcheck");
        let wrong = messages.iter().fold(claim + Ext::ONE, |left, m| next_claim(*m, left, &mut verifier).1);
        assert!(messages.is_empty() || wrong != finals.into_iter().product());
        ends.push((messages, finals));
    }
    ends.dedup();
    assert_eq!(ends.len(), 1, "every instruction set says the same");
}

proptest! {
    #[test]
    fn honest_messages_lead_to_the_columns_values(
        dimensions in proptest::collection::vec(1_usize..20, 1..4),
        seed in any::<u32>(),
    ) {
        check::<2>(&dimensions, u64::from(seed));
        check::<3>(&dimensions, u64::from(seed));
    }
}

#[test]
fn long_columns_are_cut_into_tasks() {
    check::<2>(&[3, 9_001], 1);
    check::<3>(&[5, 9_001], 2);
    check::<2>(&[20_000], 3);
}

#[test]
fn half_is_a_half() {
    assert_eq!(HALF + HALF, Base::ONE);
}
