//! The node: its meters, what energy a claim should have cost, heat, and what a power trace looks like. It must never
//! turn a bad reading into joules, and never say yes or no where a likelihood is all there is.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cgroup`] | limits and accounting of agents by the kernel |
//! | [`sensors`] | typed readings, and the meters and logs they come from |
//! | [`energy`] | joules over a window, with what is not known |
//! | [`thermo`] | profiles, and a claim's energy against them |
//! | [`unexplained`] | joules that no claim explains |
//! | [`phases`] | idle and load of a recorded trace |
//! | [`features`], [`fingerprint`] | what a window of power looks like, and how much that is worth |
//! | [`fusion`] | exact evidence and meters as one conclusion |
//! | [`heat`] | how hot the chassis gets, and what is left |
//! | [`climate`] | the heat that a live node prices |
//! | [`store`] | the durable ledger |
//! | [`node`] | the node's rules, pure: admission, charges, checks, settlement |
//! | [`desk`], [`wire`] | what agents may say when, the work that they are given, and its lines |
//! | [`family`], [`limiter`] | processes of an agent, their time and their rests, without control groups |
//! | [`meters`] | every meter of a machine together, and what they are worth |

pub mod cgroup;
pub mod climate;
pub mod desk;
pub mod energy;
mod error;
pub mod family;
pub mod features;
pub mod fingerprint;
pub mod fusion;
pub mod heat;
pub mod limiter;
pub mod meters;
pub mod node;
pub mod phases;
pub mod sensors;
pub mod store;
pub mod thermo;
pub mod unexplained;
pub mod wire;

pub use error::Error;
