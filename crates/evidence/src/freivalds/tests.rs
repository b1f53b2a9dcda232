//! The vectors are what they are said to be, and sealed ones come back whole or not at all.

use std::sync::Arc;

use model::Model;
use model::commitment::calibrate_file;
use model::import::{Architecture, read_gguf};
use model::ops::matmul::PlainAccumulate;
use model::synthetic::SyntheticModel;

use super::{Group, Prepared, SealError, matrices, seal, unseal};
use crate::field::{CheckField, Goldilocks2, Mersenne61};

const KEY: [u8; 32] = [1; 32];
const SALT: [u8; 32] = [2; 32];

fn tiny(seed: u64) -> Model {
    let synthetic = SyntheticModel { seed, ..SyntheticModel::tiny(Architecture::Llama) };
    let file = read_gguf(Arc::new(synthetic.gguf())).expect("whole");
    let formats = calibrate_file(&file, &PlainAccumulate, &mut |_| {}).expect("bounds hold");
    Model::assemble(file, formats).expect("bounds hold")
}

/// s is r W: a column of s is the product of r with that column of the weights.
fn check_vectors<F: CheckField>(model: &Model) {
    let prepared = Prepared::<F>::new(model, &[5; 32]);
    let mut row = Vec::new();
    for block in 0..2 {
        for group in Group::ALL {
            let vectors = prepared.group(block, group);
            let matrices = matrices(model, block, group);
            for column in [0, vectors.columns.len() - 1] {
                let mut sum = F::Element::default();
                for ((weights, _), r) in matrices.iter().zip(&vectors.rows) {
                    assert_eq!(r.len(), weights.rows() as usize);
                    for (number, r) in r.iter().enumerate() {
                        weights.row(number as u32, &mut row);
                        sum = F::add(sum, F::scale(*r, row[column]));
                    }
                }
                assert_eq!(vectors.columns[column], sum, "block {block}, {group:?}, column {column}");
            }
        }
    }
}

#[test]
fn columns_are_the_products_of_rows_and_weights() {
    let model = tiny(1);
    check_vectors::<Mersenne61>(&model);
    check_vectors::<Goldilocks2>(&model);
}

#[test]
fn every_group_has_coins_of_its_own() {
    let model = tiny(1);
    let prepared = Prepared::<Mersenne61>::new(&model, &[5; 32]);
    let mut firsts: Vec<u64> = Vec::new();
    for block in 0..2 {
        for group in Group::ALL {
            firsts.extend(prepared.group(block, group).rows.iter().map(|rows| rows[0]));
        }
    }
    firsts.push(prepared.head().rows[0][0]);
    firsts.push(Prepared::<Mersenne61>::new(&model, &[6; 32]).head().rows[0][0]);
    let count = firsts.len();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!((firsts.len(), count), (16, 16));
}

#[test]
fn sealed_vectors_come_back_whole_or_not_at_all() {
    let model = tiny(1);
    let prepared = Prepared::<Mersenne61>::new(&model, &[5; 32]);
    let bytes = seal(&prepared, &model.commitment, &KEY, &SALT);
    let back = unseal::<Mersenne61>(&bytes, &model, &KEY).expect("sealed here");
    assert_eq!((&back.blocks, &back.head), (&prepared.blocks, &prepared.head));
    let error = |bytes: &[u8], model: &Model, key: &[u8; 32]| {
        unseal::<Mersenne61>(bytes, model, key).expect_err("changed")
    };
    // No vector stands there in the clear.
    let first = prepared.blocks[0][0].rows[0][0].to_le_bytes();
    assert!(!bytes.windows(8).any(|window| window == first));
    assert_eq!(error(&bytes, &model, &[3; 32]), SealError::Tag);
    assert_eq!(error(&bytes, &tiny(2), &KEY), SealError::Model(model.commitment));
    assert_eq!(error(&[], &model, &KEY), SealError::Magic);
    assert_eq!(error(b"MXAUDIT1", &model, &KEY), SealError::Magic);
    for at in (0..bytes.len()).step_by(97).chain([8, 40, bytes.len() - 1]) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let expected = if at < 8 { SealError::Magic } else { SealError::Tag };
        assert_eq!(error(&changed, &model, &KEY), expected, "byte {at}");
    }
    for length in (0..bytes.len()).step_by(61) {
        assert!(unseal::<Mersenne61>(&bytes[..length], &model, &KEY).is_err());
    }
    // The same vectors for the other field have another length.
    let other = seal(&Prepared::<Goldilocks2>::new(&model, &[5; 32]), &model.commitment, &KEY, &SALT);
    assert_eq!(error(&other, &model, &KEY), SealError::Shape);
    assert_ne!(seal(&prepared, &model.commitment, &KEY, &[9; 32])[72..], bytes[72..]);
}
