//! All weights as one stream of integers, matrix by matrix, then block by block and row by row, each row padded to lanes; last the table of
//! tokens. Whoever has the model's file commits to it once; a claim about a matrix is a claim about the stream.

use proof_system::field::Ext;

use crate::channel::{Claim, Outputs, WeightClaim};
use crate::group_weights::GroupWeights;
use crate::layout::{Place, stream};
use crate::merge::Stream;
use crate::outline::{OF_BLOCK, Outline};
use crate::public::{Matrix, lane_bits, size};
use crate::vectors::outer;

/// Where each matrix stands.
#[derive(Clone, Debug)]
pub struct WeightStream {
    /// The whole.
    pub stream: Stream,
    /// Of each matrix, its place and the rows of a block.
    places: Vec<(Matrix, Place, usize)>,
}

impl WeightStream {
    /// Of a model.
    #[must_use]
    pub fn new(outline: &Outline) -> Self {
        let config = &outline.config;
        let lane_bits = lane_bits(config);
        let padded = |count: usize| count.next_multiple_of(1_usize.wrapping_shl(lane_bits));
        let [width, ff, vocab] = [config.width, config.ff, config.vocab].map(size);
        let query = size(config.heads).saturating_mul(size(config.head_dim));
        let key = size(config.kv_heads).saturating_mul(size(config.head_dim));
        let mut all = Self { stream: stream(0, lane_bits), places: Vec::new() };
        let mut length = 0_usize;
        for matrix in OF_BLOCK.into_iter().chain([Matrix::Logits, Matrix::Embedded]) {
            let (rows, inner) = match matrix {
                Matrix::Query => (query, width),
                Matrix::Key | Matrix::Value => (key, width),
                Matrix::Output => (width, query),
                Matrix::Gate | Matrix::Up => (ff, width),
                Matrix::Down => (width, ff),
                Matrix::Logits | Matrix::Embedded => (vocab, width),
            };
            let blocks = if OF_BLOCK.contains(&matrix) { size(config.blocks) } else { 1 };
            let place = Place { offset: length, rows: blocks.saturating_mul(rows), inner: padded(inner) };
            length = length.saturating_add(place.rows.saturating_mul(place.inner));
            all.places.push((matrix, place, rows));
        }
        all.stream = stream(length, lane_bits);
        all
    }

    /// All matrices in order: the place of each, and how many rows a block has.
    #[must_use]
    pub fn places(&self) -> &[(Matrix, Place, usize)] {
        &self.places
    }

    /// A claim about a matrix as one about the stream.
    #[must_use]
    pub fn claim(&self, claim: &WeightClaim) -> Claim {
        let nothing = Place { offset: 0, rows: 0, inner: 1 };
        let found = self.places.iter().find(|(matrix, ..)| *matrix == claim.matrix);
        let (place, per_block) = found.map_or((nothing, 0), |(_, place, per_block)| (*place, *per_block));
        let mut out = claim.out.all().to_vec();
        out.resize(per_block, Ext::ZERO);
        if let Outputs::Some(rows) = &claim.out {
            for (row, weight) in rows {
                if let Some(slot) = usize::try_from(*row).ok().and_then(|row| out.get_mut(row)) {
                    *slot += *weight;
                }
            }
        }
        let [groups, lanes] = &claim.input;
        let row = claim.first.saturating_mul(per_block);
        let first = place.offset.saturating_add(row.saturating_mul(place.inner));
        Claim {
            first: first.wrapping_shr(self.stream.lane_bits),
            hi: GroupWeights::rows(outer(&claim.blocks, &out), groups),
            lo: lanes.clone(),
            value: claim.value,
        }
    }
}
