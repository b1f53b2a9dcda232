//! What a proof costs before it is made: multiplications, committed integers and lookups by the very layout that the prover uses, for any
//! shape. Seconds are predictions from rates; `maxwell bench proof` measures.

use crate::layout::{Contents, sites, tensors};
use crate::public::{Dims, Rounded, quotient, triangle};

/// Counted per proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Multiplications of the forward pass, attention included.
    pub multiplications: u64,
    /// Integers that are committed to, counts of table entries left out.
    pub committed: u64,
    /// Values that are looked up.
    pub lookups: u64,
}

impl Cost {
    /// Of a statement's contents.
    #[must_use]
    pub fn of(contents: &Contents) -> Self {
        let size = |rows: usize, inner: usize| u64::try_from(rows.saturating_mul(inner)).unwrap_or(u64::MAX);
        let geometry = |g: crate::layout::Geometry| size(g.a.saturating_mul(g.b), g.inner);
        Self {
            multiplications: multiplications(&contents.dims),
            committed: tensors(contents).into_iter().map(|(_, g)| geometry(g)).fold(0, u64::saturating_add),
            lookups: sites(contents).into_iter().map(|(_, g)| geometry(g)).fold(0, u64::saturating_add),
        }
    }

    /// Constraints that an arithmetic circuit would have: one per multiplication, and so many per value that has to be shown in a range.
    #[must_use]
    pub const fn constraints(&self, per_range: u64) -> u64 {
        self.multiplications.saturating_add(self.lookups.saturating_mul(per_range))
    }
}

/// The usual remainders: norms, queries, keys and gated products take two parts.
#[must_use]
pub fn usual_contents(dims: Dims, is_drawn: bool) -> Contents {
    let long = [
        Rounded::AttnNorm,
        Rounded::MlpNorm,
        Rounded::FinalNorm,
        Rounded::Query,
        Rounded::Key,
        Rounded::Product,
    ];
    Contents { dims, long: long.into_iter().collect(), wide: std::collections::BTreeMap::new(), is_drawn }
}

fn multiplications(dims: &Dims) -> u64 {
    let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    let product =
        |factors: &[usize]| factors.iter().fold(1_u64, |product, f| product.saturating_mul(wide(*f)));
    let query = dims.heads.saturating_mul(dims.head_dim);
    let keys = dims.kv_heads.saturating_mul(dims.head_dim);
    let projections = query.saturating_mul(2).saturating_add(keys.saturating_mul(2));
    let per_position = product(&[dims.width, projections]).saturating_add(product(&[3, dims.width, dims.ff]));
    let attention = product(&[2, query, triangle(dims.positions)]);
    per_position
        .saturating_mul(wide(dims.positions))
        .saturating_add(attention)
        .saturating_mul(wide(dims.blocks))
        .saturating_add(product(&[dims.sampled, dims.width, dims.vocab]))
}

/// Shapes that are asked for most: 7B, 13B and 70B of the Llama 2 family (Touvron et al. 2023, table 1 and the published configurations).
#[must_use]
pub fn preset(name: &str) -> Option<Dims> {
    let (blocks, width, heads, kv_heads, ff) = match name {
        "7b" => (32, 4096, 32, 32, 11_008),
        "13b" => (40, 5120, 40, 40, 13_824),
        "70b" => (80, 8192, 64, 8, 28_672),
        _ => return None,
    };
    Some(Dims {
        blocks,
        positions: 1,
        sampled: 1,
        first_sampled: 0,
        width,
        heads,
        kv_heads,
        head_dim: quotient(width, heads),
        ff,
        vocab: 32_000,
        lane_bits: 6,
    })
}
