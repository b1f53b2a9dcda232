//! Claims about the model's matrices, decided by whoever holds them: each block's matrix is read once for all claims about it.

use std::collections::BTreeMap;

use model::Model;
use proof_system::field::Ext;
use proof_system::fold::combine_rows;
use proof_system::kernels::Isa;
use rayon::prelude::*;

use crate::channel::WeightClaim;
use crate::public::Matrix;
use crate::vectors::dot;

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

/// The first matrix that does not have a claimed value.
#[must_use]
pub fn first_wrong(model: &Model, claims: &[WeightClaim]) -> Option<Matrix> {
    let mut wanted: BTreeMap<(Matrix, usize), Vec<usize>> = BTreeMap::new();
    for (index, claim) in claims.iter().enumerate() {
        for block in (claim.first..).take(claim.blocks.len()) {
            wanted.entry((claim.matrix, block)).or_default().push(index);
        }
    }
    let mut found = vec![Ext::ZERO; claims.len()];
    let wanted: Vec<((Matrix, usize), Vec<usize>)> = wanted.into_iter().collect();
    let sums: Vec<Vec<(usize, Ext)>> = wanted
        .par_iter()
        .map(|((matrix, block), indices)| {
            let own: Vec<&WeightClaim> = indices.iter().filter_map(|index| claims.get(*index)).collect();
            let outs: Vec<&[Ext]> = own.iter().map(|claim| claim.out.as_slice()).collect();
            let rows = folded(model, *matrix, *block, &outs);
            let values = own.iter().zip(rows).map(|(claim, row)| {
                let weight = claim.blocks.get(block.saturating_sub(claim.first)).copied().unwrap_or_default();
                weight * dot(&row, &claim.input)
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
