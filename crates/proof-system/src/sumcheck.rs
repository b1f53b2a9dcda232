//! Sumcheck of a product of two or three columns (Lund et al. 1992, section 3; Thaler 2013 for matrices): from
//! `sum over x of f(x) g(x) = claim` to values of f~ and g~ at one point.
//!
//! A column has several dimensions of any size, the last one innermost; each has as many variables as its numbers take bits, and
//! what is missing to a power of two is zero and costs nothing. Variables are bound from the first dimension's most significant one on.
//! A round's polynomial is of degree K: K = 2 sends its values at 0 and infinity, K = 3 those at 0, -1 and infinity;
//! the value at 1 follows from the claim. Error: at most K times the variables over |F|.

#![cfg_attr(not(test), deny(clippy::unwrap_used))]

mod prove;

#[cfg(test)]
mod tests;

pub use self::prove::prove;

use crate::field::{Base, Ext};
use crate::transcript::{Coins, Label};

/// 1/2.
const HALF: Base = Base::new(0x7fff_ffff_8000_0001);

/// Variables of columns of these dimensions.
#[must_use]
pub fn variables(dimensions: &[usize]) -> usize {
    dimensions.iter().map(|dimension| bits(*dimension)).fold(0, usize::saturating_add)
}

/// Bits that number `count` things: none for one.
#[must_use]
pub fn bits(count: usize) -> usize {
    usize::try_from(count.max(1).next_power_of_two().trailing_zeros()).unwrap_or(usize::MAX)
}

/// Takes one round's message in, and gives the round's point and what is left to be checked.
pub fn next_claim<const K: usize>(message: [Ext; K], claim: Ext, coins: &mut impl Coins) -> (Ext, Ext) {
    coins.absorb_elements(Label::SumcheckRound, &message);
    let x = coins.challenge(Label::SumcheckPoint);
    let value = match message.as_slice() {
        [at_zero, leading] => {
            let at_one = claim - *at_zero;
            *at_zero + x * (at_one - *at_zero - *leading + x * *leading)
        }
        [at_zero, at_minus_one, leading] => {
            let at_one = claim - *at_zero;
            let square = (at_one + *at_minus_one) * HALF - *at_zero;
            let linear = at_one - *at_zero - square - *leading;
            *at_zero + x * (linear + x * (square + x * *leading))
        }
        // Other degrees are never asked for; a claim of one about nothing fails where it is compared.
        _ => claim + Ext::ONE,
    };
    (x, value)
}
