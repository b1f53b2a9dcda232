//! The protocol is written once, in `script` and `ops`, over a [`Channel`]: the prover's end computes every message from its
//! trace, the verifier's end reads it from the proof. What is drawn is the same for both.

use proof_system::field::Ext;
use proof_system::lookup::{Fraction, LeafClaim};
use proof_system::transcript::Label;

use crate::error::Reject;
use crate::group_weights::{GroupWeights, RowWeights};
use crate::layout::{Layout, Tensor};
use crate::public::{Matrix, Public, Rounded};

/// A claim about committed integers: the sum of `hi[z] * lo[lane]` times integer (z, lane), over lanes z from `first` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// First group of lanes in the stream.
    pub first: usize,
    /// One weight per group.
    pub hi: GroupWeights,
    /// One weight per lane.
    pub lo: Vec<Ext>,
    /// What the sum is.
    pub value: Ext,
}

/// A claim about matrices: the sum over blocks of `blocks[i] * out^T W_(first + i) input`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightClaim {
    /// Which.
    pub matrix: Matrix,
    /// First block.
    pub first: usize,
    /// One weight per block.
    pub blocks: Vec<Ext>,
    /// Of the outputs of the matrix.
    pub out: Outputs,
    /// Of the inputs: per group of lanes, and per lane.
    pub input: [Vec<Ext>; 2],
    /// What the sum is.
    pub value: Ext,
}

/// Weights of a matrix's outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// One per output.
    All(Vec<Ext>),
    /// Of these only; one that is named twice has both weights.
    Some(Vec<(u32, Ext)>),
}

impl Outputs {
    /// Those of all outputs; none where only some are named.
    #[must_use]
    pub fn all(&self) -> &[Ext] {
        match self {
            Self::All(weights) => weights,
            Self::Some(_) => &[],
        }
    }
}

/// Weights of the rows of a site: `a[i] * b[j]` for rows (first + i, from + j).
#[derive(Clone, Debug)]
pub struct Rows {
    /// First block.
    pub first: usize,
    /// Per block.
    pub a: Vec<Ext>,
    /// First position, or cell.
    pub from: usize,
    /// Per position.
    pub b: Vec<Ext>,
}

impl Rows {
    /// The first row of these.
    #[must_use]
    pub fn row(&self) -> usize {
        self.first.saturating_mul(self.b.len()).saturating_add(self.from)
    }
}

/// A single message of the prover.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A column of a piece, at the tree's point.
    Column {
        /// Of the trees.
        tree: usize,
        /// Of its pieces.
        piece: usize,
        /// Of its columns.
        column: usize,
    },
    /// A claim's value; its `value` is not there yet.
    Committed(&'a Claim),
    /// The sum of a product of columns.
    Sum(Product<'a>),
    /// The stream before the first block, summed over positions from `first` on and over elements.
    Embedded {
        /// First position.
        first: usize,
        /// Weights of positions.
        rows: &'a [Ext],
        /// Weights of elements, as groups of lanes and lanes.
        inner: [&'a [Ext]; 2],
    },
}

/// What a sumcheck of two columns is about.
#[derive(Clone, Copy, Debug)]
pub enum Product<'a> {
    /// From leaves to rows and lanes: weights, and the piece's column folded over lanes.
    Flat {
        /// Of the trees.
        tree: usize,
        /// Of its pieces.
        piece: usize,
        /// Of its columns.
        column: usize,
        /// The weights of the piece's own, over (block, position, group of lanes).
        weights: &'a GroupWeights,
        /// What lies before them in the first block weighs nothing.
        before: usize,
        /// All of whole blocks; what lies behind them weighs nothing either.
        count: usize,
    },
    /// (block, input): the matrix folded over its outputs, and its input over rows.
    Matmul {
        /// Which.
        matrix: Matrix,
        /// Weights of rows.
        rows: &'a Rows,
        /// Weights of outputs.
        out: &'a [Ext],
    },
    /// (block, position): reciprocal, and the row times the norm's weights.
    NormScale {
        /// Which norm.
        op: Rounded,
        /// Weights of rows.
        rows: &'a Rows,
        /// Weights of a row.
        inner: &'a [Ext],
    },
    /// (block, width): the norm's weights, and the stream over rows.
    NormWeights {
        /// Which norm.
        op: Rounded,
        /// Weights of rows.
        rows: &'a Rows,
        /// Weights of a row.
        inner: &'a [Ext],
    },
    /// (normalized row, width): the stream times a weight per row, and itself.
    Squares {
        /// Which norm.
        op: Rounded,
        /// Weights of its rows.
        rows: &'a [Ext],
    },
    /// (position, element of a head): weights, and the products of a projection folded over blocks and heads.
    Rotated {
        /// Queries or keys.
        matrix: Matrix,
        /// Weights of rows; those of positions are in `weights`.
        rows: &'a Rows,
        /// Weights of heads.
        heads: &'a [Ext],
        /// (position, element).
        weights: &'a [Ext],
    },
    /// (block, head, position, element): queries times weights, and keys folded over cells.
    Scores {
        /// First position.
        from: usize,
        /// Weights of the cells of some positions.
        cells: &'a [Ext],
        /// Weights of blocks and heads.
        heads: &'a [Ext],
    },
    /// (block and head): weights, and a tensor of such rows folded over them.
    Heads {
        /// Which.
        tensor: Tensor,
        /// First row.
        from: usize,
        /// Weights of rows.
        rows: &'a RowWeights,
        /// Weights of blocks and heads.
        heads: &'a [Ext],
    },
    /// (key, block and head): values times weights, and softmax weights folded over queries.
    Mixed {
        /// Weights of blocks and positions.
        rows: &'a Rows,
        /// Weights of heads.
        heads: &'a [Ext],
        /// Weights of a head's elements, as groups of lanes and lanes.
        elements: [&'a [Ext]; 2],
    },
    /// (position, block and head): outputs times weights, and sums of softmax weights.
    MixedSums {
        /// Weights of blocks and positions.
        rows: &'a Rows,
        /// Weights of heads.
        heads: &'a [Ext],
        /// Weights of a head's elements.
        elements: [&'a [Ext]; 2],
    },
    /// (sampled position, width): rows of the output matrix times weights, and the normed stream.
    Chosen {
        /// Weights of sampled positions.
        rows: &'a [Ext],
    },
    /// (sampled position, token): weights, and the weights of tokens.
    Draws {
        /// Of each position: of all tokens, of those before the output, of the output.
        factors: &'a [[Ext; 3]],
    },
    /// (normalized row): weights, and reciprocals.
    Reciprocals {
        /// Weights of rows.
        weights: &'a [Ext],
    },
}

/// What a sumcheck of three columns is about.
#[derive(Clone, Copy, Debug)]
pub enum Product3<'a> {
    /// (block, position, ff): weights, activated gates, and products of the up projection.
    Gated {
        /// Weights of rows.
        rows: &'a Rows,
        /// Weights of a row.
        inner: &'a [Ext],
    },
    /// (normalized row): weights, its root, and a sum of its scalars.
    NormRows {
        /// Weights of rows.
        weights: &'a [Ext],
        /// Factors of the limbs in the sum.
        factors: &'a [Ext],
    },
}

/// Where a tree ends: the sum of its fractions, and a claim about its leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEnd {
    /// The sum.
    pub sum: Fraction,
    /// About leaves.
    pub leaves: LeafClaim,
}

/// Where a sumcheck ends: its point, and its columns' values there.
pub type Reduced<const K: usize> = (Vec<Ext>, [Ext; K]);

/// One end of the protocol.
pub trait Channel {
    /// What both know.
    fn public(&self) -> &Public<'_>;
    /// Where everything stands.
    fn layout(&self) -> &Layout;
    /// True at the verifier's end, which computes what the prover need not.
    fn verifies(&self) -> bool;
    /// A challenge.
    fn draw(&mut self, label: Label) -> Ext;
    /// Work before the next challenge.
    ///
    /// # Errors
    /// [`Reject::Work`].
    fn work(&mut self) -> Result<(), Reject>;
    /// All trees: those of looked-up values, then that of tables.
    ///
    /// # Errors
    /// [`Reject::Trees`], [`Reject::Tree`].
    fn trees(&mut self, alpha: Ext, beta: Ext) -> Result<Vec<TreeEnd>, Reject>;
    /// One message.
    ///
    /// # Errors
    /// [`Reject::TooShort`].
    fn send(&mut self, what: Value<'_>) -> Result<Ext, Reject>;
    /// A sumcheck of two columns.
    ///
    /// # Errors
    /// [`Reject::TooShort`], [`Reject::Step`].
    fn product(&mut self, claim: Ext, dimensions: &[usize], what: Product<'_>) -> Result<Reduced<2>, Reject>;
    /// A sumcheck of three columns.
    ///
    /// # Errors
    /// [`Reject::TooShort`], [`Reject::Step`].
    fn product3(
        &mut self,
        claim: Ext,
        dimensions: &[usize],
        what: Product3<'_>,
    ) -> Result<Reduced<3>, Reject>;
    /// Fails unless both are the same.
    ///
    /// # Errors
    /// [`Reject::Step`].
    fn equal(&mut self, step: &'static str, a: Ext, b: Ext) -> Result<(), Reject>;
    /// A claim that is opened in the end.
    fn claim(&mut self, claim: Claim);
    /// A claim that the verifier's weights decide in the end.
    fn weights(&mut self, claim: WeightClaim);
}
