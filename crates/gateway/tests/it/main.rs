//! The gateway from outside.

mod detection;
mod store;
