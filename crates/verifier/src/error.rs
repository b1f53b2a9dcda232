//! Why something cannot be proven, and why a proof is none.

use proof_system::{commitment, lookup};

/// What no proof covers yet. Found before any work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unprovable {
    /// Of the model.
    #[error("proofs do not cover {feature} yet")]
    Model {
        /// Its name.
        feature: &'static str,
    },
    /// Of the claim.
    #[error("proofs do not cover {name} yet")]
    Setting {
        /// Its name.
        name: &'static str,
    },
    /// A transcript that is too long.
    #[error("proofs cover {limit} positions at most, and this claim has {found}")]
    Positions {
        /// Of the claim.
        found: usize,
        /// At most.
        limit: usize,
    },
    /// A token that the model does not have.
    #[error("token {id} is outside of the vocabulary of {vocab}")]
    Token {
        /// Its id.
        id: u32,
        /// Tokens of the model.
        vocab: u32,
    },
    /// Formats that a remainder's two parts do not cover.
    #[error("{what} are shifted by {shift} bits, which proofs do not cover yet")]
    Shift {
        /// The operation.
        what: &'static str,
        /// Bits.
        shift: i32,
    },
    /// A temperature so small that distances leave the field.
    #[error("proofs do not cover a temperature of {temperature_milli} thousandths for this model")]
    Temperature {
        /// In thousandths.
        temperature_milli: u32,
    },
    /// An epsilon whose term is zero or enormous.
    #[error("the norms' epsilon is out of the range that proofs cover")]
    Epsilon,
    /// An embedding that leaves 32 bits.
    #[error("an embedded token leaves the range of the residual stream")]
    Stream,
    /// A value of this trace.
    #[error("{what} reach {value}, beyond what proofs cover yet")]
    Range {
        /// Where.
        what: &'static str,
        /// The largest.
        value: i64,
    },
    /// Some output is not the one that its draw gives.
    #[error("an output token is not the one that its draw gives")]
    Draw,
    /// The claim's tokens are not those of this trace.
    #[error("output token {index} is not the one that the model gives")]
    Output {
        /// Of the output.
        index: usize,
    },
}

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// The claim is about another model.
    #[error("the claim is not about this model in this class of numerics")]
    Model,
    /// The claim contradicts itself, or its tokens.
    #[error("the claim's {what} cannot be that of an honest run")]
    Claim {
        /// Which part.
        what: &'static str,
    },
    /// The statement is too large for the level.
    #[error("the proof would have only {bits} bits of security")]
    Soundness {
        /// What it would have.
        bits: u32,
    },
    /// Ranges wider than a table.
    #[error("the proof's ranges are not allowed")]
    Widths,
    /// It is about something that proofs do not cover.
    #[error("{0}")]
    Unprovable(#[from] Unprovable),
    /// An output is not the one that its draw gives.
    #[error("an output token is not the one that its draw gives")]
    Draw,
    /// The proof of work.
    #[error("the proof of work is none")]
    Work,
    /// There are more or fewer trees than the statement has.
    #[error("the proof has {found} lookup trees in place of {expected}")]
    Trees {
        /// In the proof.
        found: usize,
        /// By the statement.
        expected: usize,
    },
    /// A tree's proof is none.
    #[error("lookup tree {tree}: {reason}")]
    Tree {
        /// Which.
        tree: usize,
        /// Why.
        reason: lookup::Reject,
    },
    /// Some looked-up value is in no table.
    #[error("a value is not in its table")]
    NotInTable,
    /// The proof ends before the protocol does.
    #[error("the proof ends at message {message}")]
    TooShort {
        /// The first that is missing.
        message: usize,
    },
    /// The proof goes on after the protocol.
    #[error("the proof has {extra} messages too many")]
    TooLong {
        /// More than read.
        extra: usize,
    },
    /// Two ways to the same value differ.
    #[error("{step} of message {message} does not hold")]
    Step {
        /// The step's name.
        step: &'static str,
        /// Messages read before it.
        message: usize,
    },
    /// The commitment's opening.
    #[error("opening: {0}")]
    Opening(#[from] commitment::Reject),
    /// The proof is for verifiers who hold the model.
    #[error("the proof does not open the weights, so it can only be verified with the model at hand")]
    NoWeights,
    /// The weights' commitment has other values than the proof needs.
    #[error("the weights: {0}")]
    OpenedWeights(Box<Reject>),
    /// A point of other weights.
    #[error("the tape is of other weights")]
    Tape,
    /// The weights have another value.
    #[error("the weights of {matrix} do not have the value that the proof needs")]
    Weights {
        /// Which.
        matrix: &'static str,
    },
}
