//! How likely a proof of something false is accepted, at most: the sum over all steps, each in units of 2^-128, about the field's
//! size. Computed for every proof from its shapes; below [`LEAST_BITS`] it is refused. Challenges come from a hash (random
//! oracle); whoever tries again pays the work that stands before the two large terms.

use crate::error::Reject;
use crate::layout::{Layout, QUERIES, WORK_BITS};
use crate::merge::Stream;
use crate::public::Dims;

/// The least level.
pub const LEAST_BITS: u32 = 100;

/// Each step's error, times 2^128, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soundness {
    /// Values that are in no table: 4 (leaves + entries) / |F|, after work.
    pub lookups: u128,
    /// Reductions in the trees: 3 per round and 2 per layer.
    pub trees: u128,
    /// All other sumchecks, combinations and claims: 3 per message.
    pub steps: u128,
    /// A committed matrix that is no matrix of codewords: (3/4)^queries, after work.
    pub columns: u128,
    /// Its rows' combination: log rows times the codeword's length.
    pub rows: u128,
}

impl Soundness {
    /// Of a proof with so many messages.
    #[must_use]
    pub fn of(dims: &Dims, layout: &Layout, messages: usize) -> Self {
        let leaves =
            layout.trees.iter().map(|tree| 1_u128.wrapping_shl(tree.bits)).fold(0, u128::saturating_add);
        let all = leaves.saturating_add(1_u128.wrapping_shl(layout.table_bits));
        let of_tree = |bits: u32| u128::from(bits).saturating_mul(u128::from(bits)).saturating_mul(3);
        let trees = layout
            .trees
            .iter()
            .map(|tree| of_tree(tree.bits))
            .fold(of_tree(layout.table_bits), u128::saturating_add);
        Self {
            lookups: all.saturating_mul(4).wrapping_shr(WORK_BITS).saturating_add(1),
            trees,
            steps: of_messages(messages),
            columns: of_columns(),
            rows: of_rows(&layout.stream(dims.lane_bits)),
        }
    }

    /// The same with a second opening, of the weights.
    #[must_use]
    pub fn with_weights(mut self, stream: &Stream, messages: usize) -> Self {
        self.steps = self.steps.saturating_add(of_messages(messages));
        self.columns = self.columns.saturating_add(of_columns());
        self.rows = self.rows.saturating_add(of_rows(stream));
        self
    }

    /// The same with more messages, whose coins a verifier draws.
    #[must_use]
    pub fn with_messages(mut self, messages: usize) -> Self {
        self.steps = self.steps.saturating_add(of_messages(messages));
        self
    }

    /// Itself, if it is enough.
    ///
    /// # Errors
    /// [`Reject::Soundness`].
    pub fn checked(self) -> Result<Self, Reject> {
        let bits = self.bits();
        if bits < LEAST_BITS { Err(Reject::Soundness { bits }) } else { Ok(self) }
    }

    /// Bits of security: the sum's logarithm, rounded down.
    #[must_use]
    pub fn bits(&self) -> u32 {
        let sum = [self.lookups, self.trees, self.steps, self.columns, self.rows]
            .into_iter()
            .fold(0_u128, u128::saturating_add);
        // The field has a little less than 2^128 elements: one more unit in 2^30 covers that.
        let sum = sum.saturating_add(sum.wrapping_shr(30)).saturating_add(1);
        sum.leading_zeros()
    }
}

fn of_messages(messages: usize) -> u128 {
    u128::try_from(messages).unwrap_or(u128::MAX).saturating_mul(3)
}

fn of_columns() -> u128 {
    // (3/4)^q = 2^-(0.41503.. q).
    let queries = u32::try_from(QUERIES).unwrap_or(0).saturating_mul(41_503);
    let bits = queries.checked_div(100_000).unwrap_or(0).saturating_add(WORK_BITS);
    1_u128.wrapping_shl(128_u32.saturating_sub(bits))
}

fn of_rows(stream: &Stream) -> u128 {
    let codeword = stream.shape.column_bits.saturating_add(proof_system::commitment::RATE_BITS);
    1_u128.wrapping_shl(codeword).saturating_mul(u128::from(stream.shape.row_bits().max(1)))
}
