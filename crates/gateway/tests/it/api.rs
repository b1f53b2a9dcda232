//! The API over real connections, with raw bytes on one side and a fake server on the other.

mod answers;
mod connections;
mod leases;
mod limits;
mod receipts;
mod refusals;
mod smuggling;
