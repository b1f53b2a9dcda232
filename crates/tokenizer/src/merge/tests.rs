//! Merging against the plain definition: look at all neighbours, merge the most urgent, start again.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::{Merger, Piece, Union};

/// Tokens are small numbers; some pairs of them have a union.
fn rule(seed: u32) -> impl Fn(Piece, Piece) -> Option<Union> {
    move |left, right| {
        let mixed = (left.token * 31 + right.token * 17 + seed) % 97;
        (mixed < 40).then_some(Union { order: mixed % 7, token: mixed % 11 })
    }
}

fn plainly(mut pieces: Vec<Piece>, rule: impl Fn(Piece, Piece) -> Option<Union>) -> Vec<Piece> {
    loop {
        let neighbours = pieces.windows(2).enumerate();
        let unions =
            neighbours.filter_map(|(at, pair)| rule(pair[0], pair[1]).map(|union| (union.order, at, union)));
        let Some((_, at, union)) = unions.min_by_key(|(order, at, _)| (*order, *at)) else { return pieces };
        let right = pieces.remove(at + 1);
        pieces[at] = Piece { start: pieces[at].start, end: right.end, token: union.token };
    }
}

/// Each piece is looked at once at first, and twice for each union, whatever the word.
#[test]
fn work_grows_with_the_length() {
    for period in 1..6 {
        let pieces = (0_u32..20_000).map(|at| Piece { start: at, end: at + 1, token: at % period });
        let looks = Cell::new(0);
        let always = |left: Piece, right: Piece| {
            looks.set(looks.get() + 1);
            Some(Union { order: (left.token * 7 + right.token) % 5, token: (left.token + right.token) % 11 })
        };
        assert_eq!(Merger::default().run(pieces, always).count(), 1);
        assert!(looks.get() < 3 * 20_000, "{}", looks.get());
    }
}

proptest! {
    #![proptest_config(Config { cases: 2000, rng_seed: RngSeed::Fixed(3), failure_persistence: None, ..Config::default() })]

    #[test]
    fn as_the_plain_definition(tokens in prop::collection::vec(0_u32..11, 0..24), seed in 0_u32..97) {
        let pieces = (0_u32..).zip(&tokens).map(|(at, &token)| Piece { start: at, end: at + 1, token });
        let mut merger = Merger::default();
        // The scratch memory is used before, so that what is left in it would show.
        let _ = merger.run(pieces.clone().take(3), rule(seed)).count();
        let merged: Vec<Piece> = merger.run(pieces.clone(), rule(seed)).collect();
        prop_assert_eq!(merged, plainly(pieces.collect(), rule(seed)));
    }
}
