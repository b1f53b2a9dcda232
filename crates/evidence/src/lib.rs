//! Checks that turn a claim into a verdict. Never believes anything that the claimant says about itself, and
//! never makes a failure of its own somebody else's fault.

pub mod audit;
pub mod challenge;
pub mod dispute;
mod draw;
mod error;
pub mod field;
pub mod freivalds;
pub mod ladder;
pub mod rate;
pub mod recompute;
pub mod replay;
pub mod schedule;
pub mod sequential;
pub mod trace;

pub use self::error::Error;
