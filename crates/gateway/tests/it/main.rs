//! The gateway from outside.

mod api;
mod breakable_disk;
mod client;
mod clocks;
mod crash;
mod detection;
mod fake;
mod fuzz;
mod lines;
mod link;
mod pass_crash;
mod pass_through;
mod store;
