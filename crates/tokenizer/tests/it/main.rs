//! Integration tests of `tokenizer` through its public items, against what other implementations made of the
//! same texts (tests/oracle).
#![expect(clippy::unwrap_used, reason = "a test that cannot make its input should stop there")]

mod chat;
mod fixtures;
mod injection;
mod properties;
mod refused_specs;
mod templates;
mod texts;
