//! Integration tests of `engine` through its public items.

mod bits;
mod models;
mod real_model;
mod sampling;
mod trace;
