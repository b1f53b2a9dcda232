//! What heat does to a price: `p0 exp((T - T_target) / tau)`, in integers. Never a float: the same heat gives the same price
//! everywhere.

#[cfg(test)]
mod tests;

/// 1 as a factor.
pub const ONE: u64 = 1 << 32;
/// Factors end here: nobody bids a million times as much.
pub const MAX_FACTOR: u64 = ONE << 20;
/// log2(e) times 2^40, rounded.
const LOG2_E: i128 = 1_586_259_972_792;
const FRACTION_BITS: u32 = 40;
/// Bits behind the point of the roots of 2.
const ROOT_BITS: u32 = 62;

/// Temperatures in thousandths of a degree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeatPrice {
    /// The temperature at which a price is its base price.
    pub target_mk: i64,
    /// How much hotter it must be for a price e times as high; at least 1.
    pub tau_mk: u32,
}

impl HeatPrice {
    /// The factor on a base price at a temperature, in units of 2^-32, rounded down.
    #[must_use]
    pub fn factor(&self, temperature_mk: i64) -> u64 {
        let above = i128::from(temperature_mk) - i128::from(self.target_mk);
        // Below 2^64 * 2^41: fits.
        let exponent = above * LOG2_E / i128::from(self.tau_mk.max(1));
        let whole = exponent >> FRACTION_BITS;
        let fraction = exponent - (whole << FRACTION_BITS);
        // 2^fraction as a product of the roots 2^(1/2), 2^(1/4), ..
        let (mut product, mut root) = (1_u128 << ROOT_BITS, 2_u128 << ROOT_BITS);
        for bit in (0..FRACTION_BITS).rev() {
            root = (root << ROOT_BITS).isqrt();
            if (fraction >> bit) & 1 == 1 {
                product = (product * root) >> ROOT_BITS;
            }
        }
        let factor = match whole {
            // 20 doublings are the most.
            0..=20 => product << whole,
            21.. => return MAX_FACTOR,
            ..0 => product.checked_shr(u32::try_from(-whole).unwrap_or(u32::MAX)).unwrap_or(0),
        };
        u64::try_from(factor >> (ROOT_BITS - 32)).unwrap_or(MAX_FACTOR).min(MAX_FACTOR)
    }

    /// A base price at a temperature, rounded down; saturates.
    #[must_use]
    pub fn price(&self, base: u64, temperature_mk: i64) -> u64 {
        let price = u128::from(base) * u128::from(self.factor(temperature_mk)) / u128::from(ONE);
        u64::try_from(price).unwrap_or(u64::MAX)
    }
}
