//! Keys and values of one sequence. 16-bit numbers in the layouts that the attention kernels read; a wide
//! row (beyond 16 bits) is kept whole beside them, and makes its head take the exact slow path.

use std::collections::BTreeMap;

/// Shape of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// Transformer blocks.
    pub blocks: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Positions at most.
    pub context: usize,
}

/// Keys and values of all blocks for one sequence.
#[derive(Clone, Debug)]
pub struct KvCache {
    shape: CacheShape,
    length: usize,
    /// (block, kv head)
    heads: Vec<HeadCache>,
}

/// Keys and values of one head.
#[derive(Clone, Debug, Default)]
pub struct HeadCache {
    /// (position, head_dim)
    pub keys: Vec<i16>,
    /// (position / 2, head_dim, 2): two positions side by side, for kernels that multiply pairs. An odd last
    /// position has a zero beside it.
    pub value_pairs: Vec<i16>,
    /// Largest magnitude among `keys` and among `value_pairs`.
    pub key_max: u32,
    /// See `key_max`.
    pub value_max: u32,
    /// Whole rows (key, value) of positions where either is wide; their 16-bit places hold zeros.
    pub wide: BTreeMap<usize, (Vec<i32>, Vec<i32>)>,
    positions: usize,
}

impl KvCache {
    /// An empty cache.
    #[must_use]
    pub fn new(shape: CacheShape) -> Self {
        Self { shape, length: 0, heads: vec![HeadCache::default(); shape.blocks * shape.kv_heads] }
    }

    /// Positions that are complete in all blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// True before the first token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Positions that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.shape.context - self.length
    }

    /// Appends one position of one block: `keys` and `values` are (kv head, head_dim).
    pub(crate) fn append(&mut self, block: usize, keys: &[i32], values: &[i32]) {
        let dim = self.shape.head_dim;
        let heads = &mut self.heads[block * self.shape.kv_heads..][..self.shape.kv_heads];
        for (head, (key, value)) in heads.iter_mut().zip(keys.chunks_exact(dim).zip(values.chunks_exact(dim))) {
            head.append(key, value);
        }
    }

    /// Called when all blocks have `added` more positions.
    pub(crate) fn advance(&mut self, added: usize) {
        self.length += added;
    }

    /// One head of one block.
    #[must_use]
    pub(crate) fn head(&self, block: usize, kv_head: usize) -> &HeadCache {
        &self.heads[block * self.shape.kv_heads + kv_head]
    }
}

impl HeadCache {
    fn append(&mut self, key: &[i32], value: &[i32]) {
        let narrow = |row: &[i32]| row.iter().all(|v| v.abs() <= i32::from(i16::MAX));
        let position = self.positions;
        self.positions += 1;
        if position.is_multiple_of(2) {
            self.value_pairs.resize(self.value_pairs.len() + 2 * value.len(), 0);
        }
        if !(narrow(key) && narrow(value)) {
            self.wide.insert(position, (key.to_vec(), value.to_vec()));
            self.keys.resize(self.keys.len() + key.len(), 0);
            return;
        }
        let max = |row: &[i32]| row.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
        self.key_max = self.key_max.max(max(key));
        self.value_max = self.value_max.max(max(value));
        self.keys.extend(key.iter().map(|v| *v as i16));
        let start = position / 2 * 2 * value.len() + position % 2;
        for (slot, v) in self.value_pairs[start..].iter_mut().step_by(2).zip(value) {
            *slot = *v as i16;
        }
    }

    /// Key and value of one position as whole numbers.
    #[must_use]
    pub fn position(&self, position: usize, head_dim: usize) -> (Vec<i32>, Vec<i32>) {
        if let Some(wide) = self.wide.get(&position) {
            return wide.clone();
        }
        let key = self.keys[position * head_dim..][..head_dim].iter().map(|v| i32::from(*v)).collect();
        let start = position / 2 * 2 * head_dim + position % 2;
        let value = self.value_pairs[start..].iter().step_by(2).take(head_dim).map(|v| i32::from(*v)).collect();
        (key, value)
    }
}
