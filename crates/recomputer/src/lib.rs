//! Replays sampled claims on its own copy of the weights, and says what the checks cover. It must never judge by
//! anything but exact replay, and never shed work silently.
//!
//! | module | what it holds |
//! |---|---|
//! | [`coverage`] | what a share of checked answers proves |

pub mod coverage;
mod error;

pub use error::Error;
