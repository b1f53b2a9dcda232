//! Integration tests of `tokenizer` through its public items.
