//! The fast form of each operation of `model::ops`, under the same file names: equal to it bit for bit on
//! every input that the bounds admit. Values outside the range are reported, never clamped.

pub mod attention;
pub mod hadamard;
pub mod requantize;
pub mod residual;
pub mod rms_norm;
pub mod rope;
