//! Decides whether a proof of inference holds, without running the model. The protocol is written once for both ends
//! (`script`, `ops`); this crate has the verifier's end and everything that both know. Never panics on a foreign
//! proof, reads no clock and no file, and takes no shape from a proof.
//!
//! | module | what it holds |
//! |---|---|
//! | [`verify`] | the verdict |
//! | [`statement`] | what is proven, and what of a claim needs no proof |
//! | [`soundness`] | how likely something false is accepted |
//! | [`proof`], [`encoding`] | a proof and its bytes |
//! | [`outline`] | all of a model but its matrices |
//! | [`public`] | shapes, shifts and tables from outline and claim |
//! | [`layout`] | where committed tensors, looked-up columns and tables stand |
//! | [`channel`] | one end of the protocol |
//! | [`said`] | the prover's messages, read in order |
//! | [`group_weights`] | what a claim about the stream weighs its integers with |
//! | [`script`], [`ops`] | its steps |
//! | [`cost`] | what a proof costs, for any shape |
//! | [`manifest`] | a model for verifiers who do not have it |
//! | [`merge`] | all claims about committed integers as one |
//! | [`tape`] | all claims about weights, in conversation with the prover |
//! | [`weights`] | all claims about weights, by whoever holds them |
//! | [`weight_stream`] | all claims about weights, by whoever holds a commitment to them |
//! | [`vectors`] | small vectors of weights |

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_arithmetic
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an arm names the operations that are special; a new one takes the common way or is refused by the last arm"
)]

pub mod channel;
pub mod cost;
pub mod encoding;
pub mod error;
pub mod group_weights;
pub mod layout;
pub mod manifest;
pub mod merge;
pub mod ops;
pub mod outline;
pub mod proof;
pub mod public;
pub mod said;
pub mod script;
pub mod soundness;
pub mod statement;
pub mod tape;
pub mod vectors;
pub mod verify;
pub mod weight_stream;
pub mod weights;

pub use self::error::{Reject, Unprovable};
pub use self::manifest::Manifest;
pub use self::outline::Outline;
pub use self::proof::Proof;
pub use self::verify::{verify, verify_thin};
