//! Makes proofs of inference: runs the claim's tokens, commits to the trace, and computes every message of the protocol, whose steps
//! are the verifier's. Never decides whether a proof holds.
//!
//! | module | what it holds |
//! |---|---|
//! | [`prove`] | a proof from model and claim |
//! | [`trace`] | the execution as integers |
//! | [`leaves`] | looked-up values: counts and trees |
//! | [`columns`] | the columns of every sumcheck |
//! | [`merge`] | the sumchecks over all claims about a stream, and its opening |
//! | [`weights`] | the weights as integers: committed to and opened, or asked about by a verifier in conversation |

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an arm names the operations that are special; all others take the common way"
)]

pub mod columns;
pub mod leaves;
pub mod merge;
pub mod prove;
pub mod trace;
pub mod weights;

pub use self::prove::{Phase, prove};
pub use self::weights::{CommittedWeights, Talk, WeightIntegers};
