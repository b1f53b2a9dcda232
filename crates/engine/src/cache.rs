//! Keys and values of one sequence: 16-bit numbers in the layouts that `ops::attention` reads. A position
//! whose key or value is wide (beyond 16 bits) is kept whole beside them, and sends its head the slow way.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::kernels::attention::{KEY_LANES, KeyPairs};

/// Numbers from which on heads are shared among threads.
const SHARED_APPEND: usize = 1 << 13;

/// Shape of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// Transformer blocks.
    pub blocks: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a head; even.
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
    /// (position / 16, head_dim / 2): the same two elements of 16 positions side by side, so that a kernel
    /// scores 16 keys at once. Positions that are not there yet are zero.
    pub keys: Vec<KeyPairs>,
    /// (position / 2, head_dim): the same element of two positions side by side, so that a kernel weighs two
    /// values at once. An odd last position has a zero beside it.
    pub values: Vec<[i16; 2]>,
    /// Largest squared norm among the keys, and largest magnitude among the values: they tell where 32-bit
    /// sums are exact.
    pub key_square: u64,
    /// See `key_square`.
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

    /// Rows that were wide so far, over all blocks and heads.
    #[must_use]
    pub fn wide_rows(&self) -> usize {
        self.heads.iter().map(|head| head.wide.len()).sum()
    }

    /// Appends positions of one block: `keys` and `values` are (position, kv head, head_dim).
    pub(crate) fn append(&mut self, block: usize, keys: &[i32], values: &[i32]) {
        let (dim, count) = (self.shape.head_dim, self.shape.kv_heads);
        let heads = &mut self.heads[block * count..][..count];
        let append = |(number, head): (usize, &mut HeadCache)| {
            let rows = keys.chunks_exact(dim).zip(values.chunks_exact(dim));
            for (key, value) in rows.skip(number).step_by(count) {
                head.append(key, value);
            }
        };
        if keys.len() < SHARED_APPEND {
            heads.iter_mut().enumerate().for_each(append);
        } else {
            heads.par_iter_mut().enumerate().for_each(append);
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
        let position = self.positions;
        self.positions += 1;
        if position.is_multiple_of(KEY_LANES) {
            self.keys.resize(self.keys.len() + key.len() / 2, KeyPairs::ZERO);
        }
        if position.is_multiple_of(2) {
            self.values.resize(self.values.len() + value.len(), [0; 2]);
        }
        let narrow = |row: &[i32]| row.iter().all(|v| v.abs() <= i32::from(i16::MAX));
        if !(narrow(key) && narrow(value)) {
            self.wide.insert(position, (key.to_vec(), value.to_vec()));
            return;
        }
        let square = key.iter().map(|v| u64::from(v.unsigned_abs()).pow(2)).sum();
        self.key_square = self.key_square.max(square);
        self.value_max = value.iter().map(|v| v.unsigned_abs()).fold(self.value_max, u32::max);
        let pairs = key.len() / 2;
        let block = &mut self.keys[position / KEY_LANES * pairs..][..pairs];
        for (lanes, pair) in block.iter_mut().zip(key.chunks_exact(2)) {
            lanes.0[position % KEY_LANES] = [pair[0] as i16, pair[1] as i16];
        }
        let row = &mut self.values[position / 2 * value.len()..][..value.len()];
        for (pair, v) in row.iter_mut().zip(value) {
            pair[position % 2] = *v as i16;
        }
    }

    /// Key and value of one position as whole numbers.
    #[must_use]
    pub fn position(&self, position: usize, head_dim: usize) -> (Vec<i32>, Vec<i32>) {
        if let Some(wide) = self.wide.get(&position) {
            return wide.clone();
        }
        let pairs = head_dim / 2;
        let keys = &self.keys[position / KEY_LANES * pairs..][..pairs];
        let values = &self.values[position / 2 * head_dim..][..head_dim];
        (
            keys.iter().flat_map(|lanes| lanes.0[position % KEY_LANES]).map(i32::from).collect(),
            values.iter().map(|pair| i32::from(pair[position % 2])).collect(),
        )
    }
}
