//! The stream: `new = old + rsh(W x)`. Linear but for the rounding, so only the product is left.

use crate::channel::Channel;
use crate::error::Reject;
use crate::ops::matmul::products;
use crate::public::{Matrix, Rounded};
use crate::script::{At, Script};

/// The remainder of a sum.
///
/// # Errors
/// The channel's.
pub fn low<C: Channel>(script: &mut Script<'_, C>, op: Rounded, at: &At) -> Result<(), Reject> {
    let matrix = if op == Rounded::AttnAdd { Matrix::Output } else { Matrix::Down };
    let value = script.unrounded(op, at)?;
    products(script, matrix, &at.rows, &at.inner(), value)
}
