//! Replays sampled claims on its own copy of the weights, and says what the checks cover. It must never judge by
//! anything but exact replay, and never shed work silently.
//!
//! | module | what it holds |
//! |---|---|
//! | [`coverage`] | what a share of checked answers proves |
//! | [`router`] | which gateway an input goes to, and whether its answer is one of the asked model |

pub mod coverage;
mod error;
pub mod router;

pub use error::Error;
