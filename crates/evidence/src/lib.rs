//! Checks that turn a claim into evidence and a verdict.
