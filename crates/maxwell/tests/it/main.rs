//! Tests of the `maxwell` binary as a user runs it.
