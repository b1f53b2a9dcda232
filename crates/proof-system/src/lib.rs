//! What a succinct proof is made of: field, transcript, multilinear polynomials, sumcheck, lookups, commitment, and the count
//! of its soundness. Knows no model; never does I/O, reads a clock, draws randomness, or panics on a foreign proof.
//!
//! | module | what it holds |
//! |---|---|
//! | [`field`] | Goldilocks and its quadratic extension |
//! | [`transcript`] | what is said and drawn, in one order for prover and verifier |
//! | [`multilinear`] | polynomials by their values on the hypercube |
//! | [`fold`] | sums of integers times weights |
//! | [`elementwise`] | products of small vectors |
//! | [`sumcheck`] | products of columns |
//! | [`lookup`] | sums of fractions, hence lookups |
//! | [`commitment`] | a matrix of integers, committed to and opened at a point |
//! | [`kernels`] | vector code for the prover's loops |

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used
    )
)]

pub mod commitment;
pub mod elementwise;
pub mod field;
pub mod fold;
pub mod kernels;
pub mod lookup;
pub mod multilinear;
pub mod sumcheck;
pub mod transcript;
