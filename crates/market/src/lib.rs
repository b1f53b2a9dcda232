//! What verdicts do to money: a double-entry ledger in integers, and stakes that are locked, released and slashed. Pure:
//! no clock but the size of the log, no randomness, no file. Never creates or loses an amount.
//!
//! | module | what it holds |
//! |---|---|
//! | [`auction`], [`heat_price`] | who gets CPU, GPU and bus in an epoch, and for how much |
//! | [`economics`] | audit rates and stakes at which cheating does not pay |
//! | [`ledger`] | accounts, entries, the hash chain over them, statements |
//! | [`optimistic`] | claims that are final unless somebody proves them false in time |

pub mod auction;
pub mod economics;
pub mod heat_price;
pub mod ledger;
pub mod optimistic;
