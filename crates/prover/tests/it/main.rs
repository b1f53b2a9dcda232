//! Integration tests of `prover` and `verifier` through their public items.

mod honest;
mod world;
