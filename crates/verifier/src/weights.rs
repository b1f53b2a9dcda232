//! Claims about the model's matrices, decided by whoever holds them: each block's matrix is read once for all claims about it.

use std::collections::BTreeMap;

use model::Model;
use model::ops::embedding::embedding;
use proof_system::field::Ext;
use proof_system::fold::combine_rows;
use proof_system::kernels::Isa;
use rayon::prelude::*;

use crate::channel::{Outputs, WeightClaim};
use crate::public::Matrix;
use crate::vectors::{dot, dot_integers, outer};

/// Rows that are read at a time.
const ROWS: usize = 1 << 10;

/// A matrix of a block folded over its outputs by several vectors of weights: one element per input each.
#[must_use]
pub fn folded(model: &Model, matrix: Matrix, block: usize, outs: &[&[Ext]]) -> Vec<Vec<Ext>> {
    let Some(weights) = matrix.weights(model, block) else { return vec![Vec::new(); outs.len()] };
    let columns = usize::try_from(weights.cols()).unwrap_or(usize::MAX);
    let rows = usize::try_from(weights.rows()).unwrap_or(usize::MAX);
    let starts: Vec<usize> = (0..rows).step_by(ROWS).collect();
    let parts = starts.into_par_iter().map(|start| {
        let count = ROWS.min(rows.saturating_sub(start));
        let (mut integers, mut row) = (Vec::with_capacity(count.saturating_mul(columns)), Vec::new());
        for index in start..start.saturating_add(count) {
            weights.row(u32::try_from(index).unwrap_or(u32::MAX), &mut row);
            integers.extend(row.iter().map(|w| i32::try_from(*w).unwrap_or(i32::MAX)));
        }
        let fold = |out: &&[Ext]| {
            let mut own: Vec<Ext> = out.iter().skip(start).take(count).copied().collect();
            own.resize(count, Ext::ZERO);
            combine_rows(Isa::best(), &integers, columns, &own)
        };
        outs.iter().map(fold).collect::<Vec<_>>()
    });
    parts.reduce(
        || vec![vec![Ext::ZERO; columns]; outs.len()],
        |mut sums, part| {
            for (sum, part) in sums.iter_mut().flatten().zip(part.iter().flatten()) {
                *sum += *part;
            }
            sums
        },
    )
}

/// The stream as it begins with a token.
#[must_use]
pub fn embedded(model: &Model, id: u32) -> Vec<i64> {
    embedding(&model.tensors.embedding, id, model.formats.residual, model.recipe.embedding_scale)
}

/// A row of a matrix, or of the table of tokens.
pub fn weight_row(model: &Model, matrix: Matrix, block: usize, row: usize, out: &mut Vec<i64>) {
    let row = u32::try_from(row).unwrap_or(u32::MAX);
    match matrix.weights(model, block) {
        Some(weights) => weights.row(row, out),
        None => *out = embedded(model, row),
    }
}

/// The first matrix that does not have a claimed value.
#[must_use]
pub fn first_wrong(model: &Model, claims: &[WeightClaim]) -> Option<Matrix> {
    let mut wanted: BTreeMap<(Matrix, usize), Vec<usize>> = BTreeMap::new();
    for (index, claim) in claims.iter().enumerate() {
        let is_whole = matches!(claim.out, Outputs::All(_));
        for block in (claim.first..).take(if is_whole { claim.blocks.len() } else { 0 }) {
            wanted.entry((claim.matrix, block)).or_default().push(index);
        }
    }
    let mut found: Vec<Ext> = claims.par_iter().map(|claim| of_some_rows(model, claim)).collect();
    let wanted: Vec<((Matrix, usize), Vec<usize>)> = wanted.into_iter().collect();
    let sums: Vec<Vec<(usize, Ext)>> = wanted
        .par_iter()
        .map(|((matrix, block), indices)| {
            let own: Vec<&WeightClaim> = indices.iter().filter_map(|index| claims.get(*index)).collect();
            let outs: Vec<&[Ext]> = own.iter().map(|claim| claim.out.all()).collect();
            let rows = folded(model, *matrix, *block, &outs);
            let values = own.iter().zip(rows).map(|(claim, row)| {
                let weight = claim.blocks.get(block.saturating_sub(claim.first)).copied().unwrap_or_default();
                let [groups, lanes] = &claim.input;
                weight * dot(&row, &outer(groups, lanes))
            });
            indices.iter().copied().zip(values).collect()
        })
        .collect();
    for (index, value) in sums.into_iter().flatten() {
        if let Some(sum) = found.get_mut(index) {
            *sum += value;
        }
    }
    claims.iter().zip(found).find(|(claim, found)| claim.value != *found).map(|(claim, _)| claim.matrix)
}

/// A claim's sum over the outputs that it names; nothing of one that is about all. Such a claim is about one block.
fn of_some_rows(model: &Model, claim: &WeightClaim) -> Ext {
    let Outputs::Some(out) = &claim.out else { return Ext::ZERO };
    let [groups, lanes] = &claim.input;
    let input = outer(groups, lanes);
    let mut row = Vec::new();
    let value = |(id, weight): &(u32, Ext)| {
        weight_row(model, claim.matrix, claim.first, usize::try_from(*id).unwrap_or(usize::MAX), &mut row);
        *weight * dot_integers(&input, row.iter().copied())
    };
    let sum: Ext = out.iter().map(value).sum();
    sum * claim.blocks.first().copied().unwrap_or_default()
}
