//! The meaning of each operation, one file each: slow, plain, integer-exact. These are the oracle: the
//! engine equals them bit for bit and the proofs speak about them. Nothing here may be changed for speed.
//!
//! A *row* is one token's vector. A value `v` with exponent `e` stands for the real number `v * 2^-e`.

pub mod activation;
pub mod attention;
pub mod embedding;
pub mod hadamard;
pub mod logits;
pub mod logprobs;
pub mod matmul;
pub mod requantize;
pub mod residual;
pub mod rms_norm;
pub mod rope;
pub mod sampling;
pub mod softmax;

/// A matrix of integers, one row per token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Numbers per row.
    pub width: usize,
    /// (token, width), row after row.
    pub values: Vec<i64>,
}

impl Rows {
    /// An empty matrix of the given width, with room for `rows` rows.
    #[must_use]
    pub fn with_capacity(width: usize, rows: usize) -> Self {
        Self { width, values: Vec::with_capacity(width * rows) }
    }

    /// Number of rows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.values.len() / self.width
    }

    /// One row.
    #[must_use]
    pub fn row(&self, index: usize) -> &[i64] {
        &self.values[index * self.width..][..self.width]
    }

    /// One row, to change.
    pub fn row_mut(&mut self, index: usize) -> &mut [i64] {
        &mut self.values[index * self.width..][..self.width]
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[i64]> {
        self.values.chunks_exact(self.width)
    }

    /// The largest magnitude of each row.
    pub fn row_maxima(&self) -> impl Iterator<Item = u64> {
        self.iter().map(|row| row.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0))
    }

    /// Applies `f` to every row, giving rows of the length that `f` returns.
    #[must_use]
    pub fn map_rows(&self, width: usize, mut f: impl FnMut(usize, &[i64]) -> Vec<i64>) -> Self {
        let mut out = Self::with_capacity(width, self.count());
        for (index, row) in self.iter().enumerate() {
            out.values.extend(f(index, row));
        }
        out
    }
}

#[cfg(test)]
mod tests;
