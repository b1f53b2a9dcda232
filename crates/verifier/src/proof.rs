//! A proof: what the prover says, in the order in which it is said.

use proof_system::commitment::{Digest, Opening};
use proof_system::field::Ext;
use proof_system::lookup::FractionTreeProof;

use crate::public::Widths;

/// All messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Ranges that fit the trace.
    pub widths: Widths,
    /// Of the committed stream.
    pub root: Digest,
    /// Answer to the question of work before tables become numbers.
    pub work: u64,
    /// Trees of looked-up values, then that of tables.
    pub trees: Vec<FractionTreeProof>,
    /// Values and sumchecks of all steps, then of the merge.
    pub messages: Vec<Ext>,
    /// Of the committed stream at the merge's point.
    pub opening: Opening,
    /// For verifiers without the model: what its weights' commitment has to show.
    pub weights: Option<OpenedWeights>,
}

/// All claims about the weights as one value of their commitment, and its opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedWeights {
    /// The merge's.
    pub messages: Vec<Ext>,
    /// At the merge's point.
    pub opening: Opening,
}
