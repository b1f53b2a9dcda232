//! The `maxwell` command line.
fn main() {}
