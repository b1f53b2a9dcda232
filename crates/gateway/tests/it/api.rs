//! The API over real connections, with raw bytes on one side and a fake server on the other.

mod answers;
mod connections;
mod egress;
mod endurance;
mod epochs;
mod leases;
mod limits;
mod logprobs;
mod receipts;
mod recomputers;
mod refusals;
mod request_log;
mod retries;
mod smuggling;
mod stego;
