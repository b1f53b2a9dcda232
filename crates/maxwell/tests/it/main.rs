//! Runs the `maxwell` binary as its users do. Never touches the home of whoever runs the tests.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails by panicking")]

mod audit;
mod bad_input;
mod check;
mod clients;
mod coverage;
mod demo;
mod dispute;
mod epochs;
mod gateway;
mod generate;
mod guest;
mod home;
mod inspect;
mod meters;
mod node;
mod page;
mod program;
mod prove;
mod pull;
mod real_model;
mod route;
mod running;
mod serve_alone;
mod trust;
mod up;
