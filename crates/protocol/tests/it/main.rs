//! Integration tests of `protocol` through its public items.
