//! Tells readings that were given before. Real meters never repeat a minute of noise digit for digit; a trace with noise
//! added anew passes, so this must never be the only check.

use std::collections::{BTreeSet, VecDeque};

use super::PowerSample;

/// Samples in one compared block.
pub const BLOCK: usize = 32;

/// Blocks that are remembered: a day and a half at 1 Hz.
const BLOCKS_MAX: usize = 131_072;

/// Different values a block must have to say anything: an idle device may repeat itself honestly.
const DIFFERENT_MIN: usize = 16;

/// Remembers what was given.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    last: VecDeque<u64>,
    seen: BTreeSet<[u64; 2]>,
    order: VecDeque<[u64; 2]>,
}

impl Replayed {
    /// Takes the next sample; true if the last [`BLOCK`] samples were all given before in this order.
    pub fn is_repeated(&mut self, sample: &PowerSample) -> bool {
        self.last.push_back(sample.watts.to_bits());
        if self.last.len() > BLOCK {
            self.last.pop_front();
        }
        if self.last.len() < BLOCK || self.last.iter().collect::<BTreeSet<_>>().len() < DIFFERENT_MIN {
            return false;
        }
        let digest = digest(&self.last);
        if self.seen.contains(&digest) {
            return true;
        }
        self.seen.insert(digest);
        self.order.push_back(digest);
        if self.order.len() > BLOCKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        false
    }
}

/// FNV-1a twice with two bases. A made collision only raises an alarm against its maker.
fn digest(words: &VecDeque<u64>) -> [u64; 2] {
    let fold = |base: u64| {
        words.iter().fold(base, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23))
    };
    [fold(0xcbf2_9ce4_8422_2325), fold(0x9e37_79b9_7f4a_7c15)]
}
