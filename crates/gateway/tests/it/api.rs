//! The API over real connections, with raw bytes on one side and a fake server on the other.

mod answers;
mod leases;
mod receipts;
mod refusals;
mod smuggling;
