//! The hypervisor from outside, on recorded power of real machines.

mod fuzz;
mod ledger_crash;
mod recorded;
