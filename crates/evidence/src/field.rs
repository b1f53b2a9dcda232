//! The fields in which integers are compared: 2^61 - 1 for secret coins, the quadratic extension of Goldilocks for
//! public ones. Integers are compared and not residues: whoever uses a field first checks that their magnitudes stay
//! below [`CheckField::VALUE_BITS`].

use std::fmt::Debug;

use blake3::OutputReader;

mod goldilocks;
mod limbs;
mod mersenne;
#[cfg(test)]
mod tests;

pub use self::goldilocks::Goldilocks2;
pub use self::mersenne::Mersenne61;

/// A field for checks by random linear combinations.
pub trait CheckField: Copy + Debug + Send + Sync + 'static {
    /// An element, reduced.
    type Element: Copy + Debug + Default + PartialEq + Send + Sync;
    /// Two different integers of magnitude below 2^this are different elements.
    const VALUE_BITS: u32;
    /// A uniform element hits a given one with a probability of at most 2^-this.
    const ERROR_BITS: u32;
    /// Bytes of an element in a file.
    const BYTES: usize;

    /// The next uniform element of a stream.
    fn draw(stream: &mut OutputReader) -> Self::Element;
    /// a + b.
    fn add(a: Self::Element, b: Self::Element) -> Self::Element;
    /// a - b.
    fn subtract(a: Self::Element, b: Self::Element) -> Self::Element;
    /// a * value, |value| < 2^62.
    fn scale(a: Self::Element, value: i64) -> Self::Element;
    /// `sum_i coefficients[i] * values[i]` over the shorter of both, and the or of the values' magnitudes: a sum of
    /// values that reach 2^62 has no meaning.
    fn dot(coefficients: &[Self::Element], values: &[i64]) -> (Self::Element, u64);
    /// The sum alone, of 32-bit values.
    fn dot_narrow(coefficients: &[Self::Element], values: &[i32]) -> Self::Element;
    /// `sum_r coefficients[r] * rows[r][c]` for all c, |rows| < 2^31, fewer than 2^24 rows. `row(r, out)` replaces `out`.
    fn combine_rows(
        coefficients: &[Self::Element],
        columns: usize,
        row: impl FnMut(usize, &mut Vec<i64>),
    ) -> Vec<Self::Element>;
    /// Appends the bytes of an element.
    fn write(element: Self::Element, out: &mut Vec<u8>);
    /// Reads them back; `None` if they are not those of a reduced element.
    fn read(bytes: &[u8]) -> Option<Self::Element>;
}

/// `count` uniform elements.
pub fn draw_many<F: CheckField>(stream: &mut OutputReader, count: usize) -> Vec<F::Element> {
    (0..count).map(|_| F::draw(stream)).collect()
}

fn next_u64(stream: &mut OutputReader) -> u64 {
    let mut bytes = [0; 8];
    stream.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
