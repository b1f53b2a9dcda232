//! Integration tests of `evidence` through its public items.

mod replay;
