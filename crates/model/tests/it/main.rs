//! Integration tests of `model` through its public items.
