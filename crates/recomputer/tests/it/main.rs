//! The recomputer from outside.
