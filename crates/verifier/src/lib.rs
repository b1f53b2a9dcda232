//! Decides whether a proof of inference holds, without running the model. The protocol is written once for both ends
//! (`script`, `ops`); this crate has the verifier's end and everything that both know. Never panics on a foreign
//! proof, reads no clock and no file, and takes no shape from a proof.
//!
//! | module | what it holds |
//! |---|---|
//! | [`verify`] | the verdict |
//! | [`proof`] | a proof and its bytes |
//! | [`public`] | shapes, shifts and tables from model and claim |
//! | [`layout`] | where committed tensors, looked-up columns and tables stand |
//! | [`channel`] | one end of the protocol |
//! | [`script`], [`ops`] | its steps |
//! | [`merge`] | all claims about committed integers as one |
//! | [`weights`] | all claims about weights |
//! | [`vectors`] | small vectors of weights |

pub mod channel;
pub mod error;
pub mod layout;
pub mod merge;
pub mod ops;
pub mod proof;
pub mod public;
pub mod script;
pub mod vectors;
pub mod verify;
pub mod weights;

pub use self::error::{Reject, Unprovable};
pub use self::proof::Proof;
pub use self::verify::verify;
