//! The fast bit-exact forward pass: kernels, cache, batches, sampling, and the claim that results. Equals
//! `model::ops` on every input; speed is the only thing that this crate decides.
//!
//! | module | what it holds |
//! |---|---|
//! | [`kernels`] | the vector code, chosen at run time |
//! | [`ops`] | fast form of each operation |
//! | [`execute`] | the forward pass over a batch |
//! | [`cache`] | keys and values of a sequence |
//! | [`batch`] | continuous batching: prefill in chunks, decode, finish |
//! | [`sampler`], [`fingerprint`] | from logits to a token and to F_t |
//! | [`trace`] | the exact numbers inside a forward pass, on request |
//! | [`accumulate`] | the kernels for calibration |

pub mod accumulate;
pub mod batch;
pub mod cache;
mod engine;
mod error;
pub mod execute;
pub mod fingerprint;
pub mod kernels;
pub mod ops;
mod packed;
pub mod sampler;
pub mod trace;

pub use self::batch::{Batch, Completed, Event, Request, complete};
pub use self::engine::{Engine, EngineOptions};
pub use self::error::Error;
