//! Attention of one key/value head without its products: running sums over keys and values under secret coefficients.
//! Never holds a key, and never looks past a position.

use model::import::ModelConfig;
use model::ops::attention::first_key;
use model::ops::softmax::distance;

use crate::field::{CheckField, draw_many};

/// blake3 `derive_key` context of the coefficients.
const COEFFICIENTS_CONTEXT: &str = "maxwell 2026-11 audit attention v1";

/// Of one key/value head of one block.
pub(super) struct HeadState<F: CheckField> {
    stream: blake3::OutputReader,
    /// rho, one per element of a value.
    pub(super) value_coefficients: Vec<F::Element>,
    /// c, one per position.
    key_coefficients: Vec<F::Element>,
    /// (position + 1 - kept_from, head_dim): sums of `c_s k_s` over the positions before.
    key_sums: Vec<F::Element>,
    /// The first position whose sums are kept: nothing that follows sees keys before it, or it sees all of them.
    kept_from: usize,
    /// `<rho, v_s>`, one per position.
    value_sums: Vec<F::Element>,
}

/// What one position adds to a head.
pub(super) struct KeyPart<F: CheckField> {
    /// `c_s k_s`
    scaled_key: Vec<F::Element>,
    value_sum: F::Element,
}

/// Scores and weighted values of one query, and the keys that they are about.
#[derive(Clone, Copy)]
pub(super) struct Seen<'t> {
    pub(super) query: &'t [i32],
    /// First key and the one behind the last.
    pub(super) keys: (usize, usize),
    pub(super) scores: &'t [i64],
    pub(super) weighted: &'t [i64],
}

impl<F: CheckField> HeadState<F> {
    pub(super) fn new(coins: &[u8; 32], config: &ModelConfig, block: usize, head: usize) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(COEFFICIENTS_CONTEXT);
        hasher.update(coins).update(&(block as u64).to_le_bytes()).update(&(head as u64).to_le_bytes());
        let (mut stream, dim) = (hasher.finalize_xof(), config.head_dim as usize);
        Self {
            value_coefficients: draw_many::<F>(&mut stream, dim),
            stream,
            key_coefficients: Vec::new(),
            key_sums: vec![F::Element::default(); dim],
            kept_from: 0,
            value_sums: Vec::new(),
        }
    }

    /// Draws the coefficients of so many positions more, and forgets the sums that none of these needs.
    pub(super) fn draw(&mut self, count: usize, window: Option<u32>) {
        let next = self.key_coefficients.len();
        self.key_coefficients.extend(draw_many::<F>(&mut self.stream, count));
        let first = if window.is_some() { first_key(next, window) } else { next };
        let unused = (first - self.kept_from) * self.value_coefficients.len();
        self.key_sums.drain(..unused);
        self.kept_from = first;
    }

    /// What a key and a value at a position add.
    pub(super) fn part(&self, position: usize, key: &[i32], value: &[i32]) -> KeyPart<F> {
        let c = self.key_coefficients[position];
        KeyPart {
            scaled_key: key.iter().map(|k| F::scale(c, i64::from(*k))).collect(),
            value_sum: F::dot_narrow(&self.value_coefficients, value),
        }
    }

    /// Appends the next position.
    pub(super) fn append(&mut self, part: &KeyPart<F>) {
        let last = self.key_sums.len() - part.scaled_key.len();
        for (d, scaled) in part.scaled_key.iter().enumerate() {
            self.key_sums.push(F::add(self.key_sums[last + d], *scaled));
        }
        self.value_sums.push(part.value_sum);
    }

    /// Whether `sum_s c_s S_s = <q, sum_s c_s k_s>` over the keys, all below 2^`bits`.
    pub(super) fn scores_fit(&self, seen: Seen<'_>, bits: u32) -> bool {
        let (first, end) = seen.keys;
        let sums = |position: usize| {
            &self.key_sums[(position - self.kept_from) * seen.query.len()..][..seen.query.len()]
        };
        let expected = if first == 0 {
            F::dot_narrow(sums(end), seen.query)
        } else {
            F::subtract(F::dot_narrow(sums(end), seen.query), F::dot_narrow(sums(first), seen.query))
        };
        let (found, magnitudes) = F::dot(&self.key_coefficients[first..end], seen.scores);
        magnitudes >> bits.min(63) == 0 && found == expected
    }

    /// Whether `<rho, N> = sum_s E_s <rho, v_s>` over the keys, all below 2^`bits`.
    pub(super) fn weighted_fit(&self, seen: Seen<'_>, weights: &[i32], bits: u32) -> bool {
        let (found, magnitudes) = F::dot(&self.value_coefficients, seen.weighted);
        magnitudes >> bits.min(63) == 0
            && found == F::dot_narrow(&self.value_sums[seen.keys.0..seen.keys.1], weights)
    }
}

/// Softmax weights, as `model::ops::softmax`, and their sum.
pub(crate) fn softmax(scores: &[i64], shift: i32, table: &[u32], weights: &mut Vec<i32>) -> i64 {
    let max = scores.iter().copied().max().unwrap_or(0);
    weights.clear();
    let mut sum = 0;
    weights.extend(scores.iter().map(|score| {
        let steps = usize::try_from(distance(max - score, shift)).unwrap_or(usize::MAX);
        // Entries are below 2^15.
        let weight = table.get(steps).map_or(0, |e| *e as i32);
        sum += i64::from(weight);
        weight
    }));
    sum
}
