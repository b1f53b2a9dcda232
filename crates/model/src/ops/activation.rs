//! SiLU and GELU of a requantized gate, by table; wide values go on with the function's asymptotes.

/// `f(g)` at the gate's own exponent. Beyond 16 bits `f(g) = g` above and 0 below: exact to the rounding
/// for every exponent up to 11 (tables.rs).
#[must_use]
pub fn activate(gate: i64, table: &[i16]) -> i64 {
    match i16::try_from(gate) {
        Ok(g) => i64::from(table[(i32::from(g) + 32_768) as usize]),
        Err(_) => gate.max(0),
    }
}
