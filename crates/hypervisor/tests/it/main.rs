//! The hypervisor from outside, on recorded power of real machines.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ledger_crash;
mod recorded;
