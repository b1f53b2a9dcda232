//! What an inference means: import, formats, tables, and the plain integer-exact definition of every
//! operation. Never fast, never float, no I/O: this crate is the oracle that the engine and the proofs
//! must equal bit for bit.
//!
//! | module | what it holds |
//! |---|---|
//! | [`gguf`], [`weights`], [`import`] | GGUF files to exact integers |
//! | [`fixed_point`] | the one rounding rule, integer square root, 120-bit fixed point |
//! | [`tables`] | exp, activation and rotation tables, made with integer arithmetic only |
//! | [`formats`], [`calibration`] | where the binary point of every activation stands, and how it is chosen |
//! | [`bounds`] | proof that no accumulator can overflow |
//! | [`recipe`] | constants that follow from a configuration |
//! | [`ops`] | the meaning of each operation, one file each |
//! | [`reference`] | the slow forward pass made of [`ops`] |
//! | [`fingerprint`] | the logit fingerprint F_t over Goldilocks² |
//! | [`commitment`] | the identity of a model |
//! | [`synthetic`] | tiny GGUF files for tests |

pub mod bounds;
pub mod calibration;
pub mod commitment;
pub mod error;
pub mod fingerprint;
pub mod fixed_point;
pub mod formats;
pub mod gguf;
pub mod import;
pub mod ops;
pub mod recipe;
pub mod reference;
pub mod synthetic;
pub mod tables;
pub mod weights;

pub use commitment::{Model, NUMERICS};
pub use error::Error;
