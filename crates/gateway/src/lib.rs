//! The Secure Network Gateway: the only way in and out of an untrusted inference server. It admits whitelisted
//! weights only, tags every request, fixes its seed, records and signs what was answered, and picks what is
//! recomputed. It must never link the model, and never believe what the server says about itself.
//!
//! | module | what it holds |
//! |---|---|
//! | [`store`] | the record of everything that passed: a sealed, chained log of fixed size |

pub mod store;
