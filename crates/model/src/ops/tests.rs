//! Laws of the operations.
