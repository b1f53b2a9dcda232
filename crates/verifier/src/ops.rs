//! One file per operation, named as in `model::ops`: how a claim about its result becomes claims about its operands.

pub mod attention;
pub mod hadamard;
pub mod logits;
pub mod matmul;
pub mod norm;
pub mod residual;
pub mod rope;
pub mod sampling;
