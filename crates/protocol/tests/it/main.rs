//! Tests of the crate's public face, in one binary. Expected values come from `../vectors.py`, which is built on
//! independent implementations, and must never come from this crate.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its input should stop there")]

mod claim;
mod fingerprint;
mod id;
mod samples;
mod seed;
mod settings;
mod verdict;
