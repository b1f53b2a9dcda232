//! The gateway from outside.

mod store;
