//! Integration tests of `prover` and `verifier` through their public items.

mod cheats;
mod fuzz;
mod honest;
mod tamper;
mod tape;
mod thin;
mod world;
