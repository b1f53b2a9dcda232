//! The fast path against the plain operations, at the edges of its bounds.

use super::*;
use crate::cache::{CacheShape, KvCache};
use model::synthetic::SplitMix64;
use model::tables::{exp_long, exp_short};

/// Numbers of at most `bits` bits, with every 7th at the very end of the range.
fn numbers(random: &mut SplitMix64, count: usize, bits: u32) -> Vec<i32> {
    let span = (1_u64 << (bits + 1)) - 1;
    let end = (1_i32 << bits) - 1;
    (0..count).map(|i| if i % 7 == 3 { end } else { random.below(span) as i32 - end }).collect()
}

fn check(positions: usize, dim: usize, bits: u32, window: usize, shift: i32) {
    let mut random = SplitMix64::new(positions as u64 + u64::from(bits));
    let mut cache = KvCache::new(CacheShape { blocks: 1, kv_heads: 1, head_dim: dim, context: positions });
    for _ in 0..positions {
        cache.append(0, &numbers(&mut random, dim, bits), &numbers(&mut random, dim, bits));
    }
    let query = numbers(&mut random, dim, bits);
    for table in [exp_short(), exp_long()] {
        let rule = AttentionRule { shift, table: &table };
        let keys = positions.saturating_sub(window)..positions;
        let mut slow = vec![0; dim];
        plain(&query, cache.head(0, 0), keys.clone(), rule, &mut slow, |_, _| {});
        for isa in Isa::available() {
            let mut fast = vec![0; dim];
            attention(isa, &query, cache.head(0, 0), keys.clone(), rule, &mut fast);
            let case =
                format!("{positions} positions, {dim} wide, {bits} bits, window {window}, shift {shift}");
            assert_eq!(fast, slow, "{case}, {}", isa.name());
        }
    }
}

#[test]
fn fast_path_equals_the_plain_operations() {
    for positions in [1, 2, 15, 16, 17, 33, 300] {
        for (dim, bits) in [(2, 15), (64, 3), (64, 12), (80, 11), (128, 12), (64, 15), (64, 17)] {
            for window in [1, 5, 16, 1000] {
                check(positions, dim, bits, window, 15);
                check(positions, dim, bits, window, 0);
            }
        }
    }
}

/// All weights equal and all values at the end: the largest sums there are.
#[test]
fn largest_sums_are_exact() {
    let (dim, positions) = (64, 3000);
    let mut cache = KvCache::new(CacheShape { blocks: 1, kv_heads: 1, head_dim: dim, context: positions });
    for position in 0..positions {
        let value = if position % 3 == 0 { -32_767 } else { 32_767 };
        cache.append(0, &vec![1; dim], &vec![value; dim]);
    }
    let table = exp_long();
    let rule = AttentionRule { shift: 10, table: &table };
    let mut slow = vec![0; dim];
    plain(&vec![5; dim], cache.head(0, 0), 0..positions, rule, &mut slow, |_, _| {});
    assert_eq!(slow[0], (32_767 * 1000 + 1500) / 3000);
    for isa in Isa::available() {
        let mut fast = vec![0; dim];
        attention(isa, &vec![5; dim], cache.head(0, 0), 0..positions, rule, &mut fast);
        assert_eq!(fast, slow, "{}", isa.name());
    }
}
