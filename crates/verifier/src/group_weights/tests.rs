//! Every shortcut against the sum that it stands for, written out.

#![expect(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "small numbers of a test")]

use proof_system::field::{Base, Ext};

use super::*;

/// Arbitrary elements that are the same in every run.
fn elements(count: usize, seed: u64) -> Vec<Ext> {
    let element = |i: u64| Ext::new(Base::new(seed * 7 + i * i + 3), Base::new(i * 31 + seed));
    (0..count as u64).map(element).collect()
}

/// By definition, bit by bit.
fn eq_at(point: &[Ext], index: usize) -> Ext {
    let bit = |place: usize| index >> place & 1 == 1;
    point.iter().rev().enumerate().map(|(place, r)| if bit(place) { *r } else { Ext::ONE - *r }).product()
}

fn sum_of(weights: &[Ext], z: &[Ext], first: usize) -> Ext {
    weights.iter().enumerate().map(|(i, w)| *w * eq_at(z, first + i)).sum()
}

#[test]
fn slices_of_eq_meet_another_eq_anywhere() {
    let (p, z) = (elements(6, 1), elements(9, 2));
    for (own, first, count) in [(0, 0, 64), (3, 100, 61), (63, 511, 1), (5, 7, 0), (17, 448, 47), (1, 2, 33)]
    {
        let slice = GroupWeights::Slice { point: p.clone(), first: own, count };
        assert_eq!(slice.len(), count);
        assert_eq!(slice.spread(), (own..own + count).map(|i| eq_at(&p, i)).collect::<Vec<_>>());
        assert_eq!(slice.at(&z, first), sum_of(&slice.spread(), &z, first), "{own} {first} {count}");
    }
}

#[test]
fn rows_are_the_sum_of_their_groups() {
    let z = elements(11, 3);
    for (bands, rows, inner, first) in
        [(1, 40, 9, 5), (3, 70, 5, 0), (1, 2, 24, 1000), (30, 1, 7, 3), (1, 300, 1, 17), (2, 64, 8, 1024)]
    {
        let inner = (0..bands).map(|band| elements(inner, band as u64 + 20)).collect();
        let mut own = elements(bands * rows, 4);
        own[0] = Ext::ZERO;
        let weights = GroupWeights::Rows { rows: RowWeights::All(own), inner };
        assert_eq!(weights.spread().len(), weights.len());
        assert_eq!(weights.at(&z, first), sum_of(&weights.spread(), &z, first), "{bands} bands of {rows}");
    }
    for (from, positions, inner) in [(0, 40, 5), (7, 30, 3), (20, 1, 9), (0, 1, 1)] {
        let (positions, keys) = (elements(positions, 30), elements(from + positions, 31));
        let rows = RowWeights::Cells { from, positions: positions.clone(), keys: keys.clone() };
        let by_hand = (0..positions.len()).flat_map(|p| (0..=from + p).map(move |key| (p, key)));
        let by_hand: Vec<Ext> = by_hand.map(|(p, key)| positions[p] * keys[key]).collect();
        assert_eq!(rows.spread(), by_hand);
        assert_eq!(rows.len(), by_hand.len());
        let weights = GroupWeights::rows(rows, &elements(inner, 8));
        let wide = elements(13, 9);
        assert_eq!(weights.at(&wide, 11), sum_of(&weights.spread(), &wide, 11), "from {from}");
    }
    let plain = GroupWeights::plain(elements(100, 6));
    assert_eq!(plain.at(&z, 30), sum_of(&elements(100, 6), &z, 30));
}

#[test]
fn sums_up_to_an_end() {
    let (a, b) = (elements(5, 8), elements(5, 9));
    for end in 0..=40 {
        let all = || 0..32.min(end);
        assert_eq!(prefix_of_eq(&a, end), all().map(|x| eq_at(&a, x)).sum(), "{end}");
        assert_eq!(
            prefix_of_products(&a, &b, end),
            all().map(|x| eq_at(&a, x) * eq_at(&b, x)).sum(),
            "{end}"
        );
    }
    let table = EqTable::new(&a);
    assert!((0..32).all(|x| table.at(x) == eq_at(&a, x)));
    assert_eq!(table.at(32), Ext::ZERO);
}
