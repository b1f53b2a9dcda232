//! Openings of small matrices, codewords against the definition and against other people's transform, and every cheat.

use p3_dft::{Radix2Dit, TwoAdicSubgroupDft};
use p3_field::PrimeField64;
use p3_goldilocks::Goldilocks;
use proptest::prelude::*;

use super::encode::{Cell, Twiddles, exponent};
use super::{Committed, Digest, Opening, Reject, Shape, verify};
use crate::field::{Base, Ext};
use crate::kernels::Isa;
use crate::multilinear::evaluate;
use crate::transcript::{Label, Transcript};

const SHAPE: Shape = Shape { column_bits: 5, rows: 24, queries: 12, work_bits: 4 };

fn integers(seed: u64, count: usize) -> Vec<i32> {
    let mut transcript = Transcript::new(&seed.to_le_bytes());
    let edges = [i32::MIN, i32::MAX, 0, -1];
    let drawn = transcript.indices(Label::Batching, 32, count);
    drawn.into_iter().map(|v| edges.get(v as usize).copied().unwrap_or(v as u32 as i32)).collect()
}

fn begin(root: &Digest) -> (Transcript, Vec<Ext>) {
    let mut transcript = Transcript::new(b"commitment");
    transcript.absorb(Label::Commitment, root);
    let point = transcript.challenges(Label::SumcheckPoint, 10);
    (transcript, point)
}

fn committed() -> (Committed, Opening, Ext) {
    let committed = Committed::new(integers(1, 700), SHAPE, Isa::best());
    let (mut transcript, point) = begin(&committed.root());
    let opening = committed.open(&point[..5], &mut transcript);
    let values: Vec<Ext> = committed.integers().iter().map(|v| Ext::from_signed(i64::from(*v))).collect();
    (committed, opening, evaluate(&values, &point))
}

fn verified(root: &Digest, shape: Shape, claim: Ext, opening: &Opening) -> Result<(), Reject> {
    let (mut transcript, point) = begin(root);
    verify(root, shape, &point, claim, opening, &mut transcript)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn codewords_are_values_at_roots_of_unity(seed in any::<u32>(), bits in prop_oneof![1_u32..9, Just(14)]) {
        let count = 1_usize << (bits - 1);
        let message: Vec<Cell> = integers(u64::from(seed), 8 * count)
            .as_chunks::<8>().0.iter().map(|cell| cell.map(|v| Base::from_signed(i64::from(v)))).collect();
        for isa in Isa::available() {
            let mut out = vec![[Base::ZERO; 8]; 2 * count];
            Twiddles::new(bits).encode(|column| message[column], &mut out, isa);
            for row in 0..8 {
                let mut coefficients: Vec<Goldilocks> =
                    message.iter().map(|cell| Goldilocks::new(cell[row].value())).collect();
                coefficients.resize(2 * count, Goldilocks::new(0));
                let theirs = Radix2Dit::default().dft(coefficients);
                // Theirs is at the powers of another root of the same order; compare as sets, and ours with the definition.
                let mut sorted: Vec<u64> = theirs.iter().map(PrimeField64::as_canonical_u64).collect();
                let mut ours: Vec<u64> = out.iter().map(|cell| cell[row].value()).collect();
                let root = Base::root_of_unity(bits).unwrap();
                for (position, value) in ours.iter().enumerate().take(5) {
                    let x = root.power(exponent(position as u64, bits));
                    let expected = message.iter().rev().fold(Base::ZERO, |sum, cell| sum * x + cell[row]);
                    prop_assert_eq!(*value, expected.value());
                }
                sorted.sort_unstable();
                ours.sort_unstable();
                prop_assert_eq!(ours, sorted);
            }
        }
    }

    #[test]
    fn honest_openings_are_accepted(seed in any::<u32>(), column_bits in 1_u32..7, count in 0_usize..900) {
        let shape = Shape::of(count, column_bits, 9, 0);
        let mut roots = Vec::new();
        for isa in Isa::available() {
            let committed = Committed::new(integers(u64::from(seed), count), shape, isa);
            let mut transcript = Transcript::new(b"honest");
            let point = transcript.challenges(Label::SumcheckPoint, (shape.row_bits() + column_bits) as usize);
            let mut verifier = transcript.clone();
            let opening = committed.open(&point[..shape.row_bits() as usize], &mut transcript);
            let values: Vec<Ext> = committed.integers().iter().map(|v| Ext::from_signed(i64::from(*v))).collect();
            let claim = evaluate(&values, &point);
            prop_assert_eq!(verify(&committed.root(), shape, &point, claim, &opening, &mut verifier), Ok(()));
            prop_assert_eq!(transcript.challenge(Label::Batching), verifier.challenge(Label::Batching));
            roots.push((committed.root(), opening));
        }
        roots.dedup();
        prop_assert_eq!(roots.len(), 1);
    }
}

#[test]
fn a_change_of_any_part_is_refused_by_name() {
    let (committed, opening, claim) = committed();
    let root = committed.root();
    assert_eq!(verified(&root, SHAPE, claim, &opening), Ok(()));
    assert_eq!(verified(&root, SHAPE, claim + Ext::ONE, &opening), Err(Reject::Claim));
    type Change = Box<dyn Fn(&mut Opening)>;
    let cases: Vec<(Change, Reject)> = vec![
        (Box::new(|o| o.row[3] += Ext::ONE), Reject::Claim),
        (
            Box::new(|o| {
                o.row.pop();
            }),
            Reject::RowLength { found: 31 },
        ),
        (Box::new(|o| o.row.push(Ext::ZERO)), Reject::RowLength { found: 33 }),
        (Box::new(|o| o.work += 1), Reject::Work),
        (
            Box::new(|o| {
                o.columns.pop();
            }),
            Reject::Columns { found: 11 },
        ),
        (Box::new(|o| o.columns.push(o.columns[0].clone())), Reject::Columns { found: 13 }),
        (Box::new(|o| o.columns[2].elements[5] += Base::ONE), Reject::Path { query: 2 }),
        (
            Box::new(|o| {
                o.columns[2].elements.pop();
            }),
            Reject::ColumnShape { query: 2 },
        ),
        (Box::new(|o| o.columns[2].elements.push(Base::ZERO)), Reject::ColumnShape { query: 2 }),
        (Box::new(|o| o.columns[4].path[0][0] ^= 1), Reject::Path { query: 4 }),
        (
            Box::new(|o| {
                o.columns[4].path.pop();
            }),
            Reject::ColumnShape { query: 4 },
        ),
        (Box::new(|o| o.columns.swap(0, 1)), Reject::Path { query: 0 }),
    ];
    for (change, expected) in cases {
        let mut changed = opening.clone();
        change(&mut changed);
        assert_eq!(verified(&root, SHAPE, claim, &changed), Err(expected));
    }
    let other = Committed::new(integers(2, 700), SHAPE, Isa::best()).root();
    assert!(verified(&other, SHAPE, claim, &opening).is_err());
    for shape in [
        Shape { rows: 23, ..SHAPE },
        Shape { rows: 0, ..SHAPE },
        Shape { rows: 1 << 20, ..SHAPE },
        Shape { column_bits: 40, ..SHAPE },
        Shape { column_bits: 0, ..SHAPE },
    ] {
        assert_eq!(verified(&root, shape, claim, &opening), Err(Reject::Shape));
    }
}

/// Makes the combined row fit a wrong claim and goes on honestly: the columns give it away.
#[test]
fn a_row_made_for_a_wrong_claim_is_caught_by_the_columns() {
    let (mut caught, mut total) = (0, 0);
    for seed in 0..40 {
        let committed = Committed::new(integers(seed, 700), SHAPE, Isa::best());
        let root = committed.root();
        let (mut transcript, point) = begin(&root);
        let mut forged = committed.open(&point[..5], &mut transcript.clone());
        forged.row[0] += Ext::ONE;
        let claim = evaluate(&forged.row, &point[5..]);
        // Columns for the queries that the forged row leads to.
        transcript.absorb_elements(Label::OpeningRow, &forged.row);
        forged.work = transcript.work(SHAPE.work_bits);
        let queries = transcript.indices(Label::OpeningQueries, 6, SHAPE.queries);
        forged.columns = queries.iter().map(|query| committed.column(*query)).collect();
        total += 1;
        match verified(&root, SHAPE, claim, &forged) {
            Err(Reject::Combination { .. }) => caught += 1,
            Ok(()) => {}
            Err(other) => panic!("{other}"),
        }
    }
    // Two codewords differ in more than half of the positions: 12 queries miss all of them once in 4,096.
    assert!(caught >= total - 1, "{caught} of {total}");
}
