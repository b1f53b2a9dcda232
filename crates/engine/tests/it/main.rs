//! Integration tests of `engine` through its public items.
