//! Integration tests of `evidence` through its public items.

mod audit;
mod challenge;
mod cheats;
mod dispute;
mod fuzz;
mod parts;
mod replay;
