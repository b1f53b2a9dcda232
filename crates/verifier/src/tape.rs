//! Mode b: the verifier has neither the model nor a commitment to it, but a *tape*: secret random points of the weights' polynomial with
//! their values, made once by whoever had the model. In a conversation the prover reduces all claims about weights to one value,
//! coin by coin, and the last coins are a point of the tape. Whoever knows the point beforehand can lie, so each serves once: it must
//! be burned where it is kept before the first coin is given out, and no two conversations may share one.
//!
//! The verdict is for the verifier alone: a record of the conversation proves nothing to others, since the verifier could have made it up.

use model::Model;
use proof_system::field::Ext;
use proof_system::fold::fold_rows;
use proof_system::kernels::Isa;
use proof_system::sumcheck::{bits, variables};
use proof_system::transcript::{Coins, Label};
use rayon::prelude::*;

use crate::channel::Claim;
use crate::error::Reject;
use crate::group_weights::EqTable;
use crate::merge::{Left, Stream, ends, reduce};
use crate::said::Said;
use crate::soundness::Soundness;
use crate::vectors::eq_vector;
use crate::verify::Pending;
use crate::weight_stream::WeightStream;
use crate::weights::weight_row;

/// Rows that are read at a time.
const ROWS: usize = 1 << 8;
/// First bytes of a conversation, from the verifier; then the claim's digest.
pub const HELLO: &[u8; 16] = b"maxwell tape 1\r\n";

/// A secret point and its value. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The point: what numbers groups of lanes, then lanes.
    pub point: Vec<Ext>,
    /// What the weights' polynomial is there.
    pub value: Ext,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry of {} coordinates", self.point.len())
    }
}

/// Coordinates of a point of these weights.
#[must_use]
pub fn coordinates(stream: &Stream) -> usize {
    bits(stream.groups()).saturating_add(bits(stream.lanes()))
}

/// The values of the weights' polynomial at some points; each weight is read once.
#[must_use]
pub fn values(model: &Model, weights: &WeightStream, points: &[Vec<Ext>]) -> Vec<Ext> {
    let group_bits = bits(weights.stream.groups());
    let split: Vec<(EqTable, Vec<Ext>)> = points
        .iter()
        .map(|point| {
            let (groups, lanes) = point.split_at(group_bits.min(point.len()));
            (EqTable::new(groups), eq_vector(lanes, weights.stream.lanes()))
        })
        .collect();
    let parts = weights.places().par_iter().flat_map_iter(|(matrix, place, per_block)| {
        (0..place.rows).step_by(ROWS).map(|first| (*matrix, *place, *per_block, first))
    });
    let sums = parts.map(|(matrix, place, per_block, first)| {
        let count = ROWS.min(place.rows.saturating_sub(first));
        let (mut integers, mut row) = (Vec::with_capacity(count.saturating_mul(place.inner)), Vec::new());
        for index in first..first.saturating_add(count) {
            let block = crate::public::quotient(index, per_block);
            let own = index.saturating_sub(block.saturating_mul(per_block));
            weight_row(model, matrix, block, own, &mut row);
            row.resize(place.inner, 0);
            integers.extend(row.iter().map(|weight| i32::try_from(*weight).unwrap_or(i32::MAX)));
        }
        let start = place.offset.saturating_add(first.saturating_mul(place.inner));
        let group = start.wrapping_shr(weights.stream.lane_bits);
        let value = |(groups, lanes): &(EqTable, Vec<Ext>)| {
            let folded = fold_rows(Isa::best(), &integers, lanes);
            groups.dot(&folded, group)
        };
        split.iter().map(value).collect::<Vec<Ext>>()
    });
    sums.reduce(|| vec![Ext::ZERO; points.len()], |a, b| a.iter().zip(&b).map(|(a, b)| *a + *b).collect())
}

/// What the verifier says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing before the prover has said so many elements.
    Listen(usize),
    /// Everything was said.
    Over,
}

/// The verifier's end of a conversation about weights. Its coins are not shown by `Debug`.
pub struct Conversation {
    soundness: Soundness,
    claims: Vec<Claim>,
    stream: Stream,
    /// The value that the weights have at the last coins.
    value: Ext,
    /// All coins, in order.
    coins: Vec<Ext>,
    /// Elements that the prover says before each coin, and after the last one.
    lengths: Vec<usize>,
    /// How many of these were said.
    turn: usize,
    messages: Vec<Ext>,
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Conversation at turn {} of {}", self.turn, self.lengths.len())
    }
}

impl Conversation {
    /// About what a proof left to be shown. The entry must have been burned; `random` draws coins that nobody can foresee.
    ///
    /// # Errors
    /// [`Reject::Tape`]: the entry is of other weights. And what `random` fails with.
    pub fn new<E: From<Reject>>(
        pending: Pending,
        weights: &WeightStream,
        entry: Entry,
        mut random: impl FnMut() -> Result<Ext, E>,
    ) -> Result<Self, E> {
        let stream = weights.stream;
        let claims: Vec<Claim> = pending.weights.iter().map(|claim| weights.claim(claim)).collect();
        let group_bits = bits(stream.groups());
        if entry.point.len() != coordinates(&stream) {
            return Err(Reject::Tape.into());
        }
        let (groups, lanes) = entry.point.split_at(group_bits);
        let second = variables(&[ends(&claims, stream.groups()).len(), stream.lanes()]);
        let free = second.saturating_sub(lanes.len()).saturating_add(group_bits).saturating_add(2);
        // Combination, first sumcheck, combination, intervals: free. Then lanes and groups, from the tape.
        let mut coins = (0..free).map(|_| random()).collect::<Result<Vec<Ext>, E>>()?;
        coins.extend_from_slice(lanes);
        coins.extend_from_slice(groups);
        let mut lengths = vec![0];
        lengths.extend(std::iter::repeat_n(2, group_bits));
        lengths.push(claims.len());
        lengths.extend(std::iter::repeat_n(2, second));
        // The second sumcheck's values come with the first round of the third.
        lengths.push(4);
        lengths.extend(std::iter::repeat_n(2, group_bits));
        let soundness = pending.soundness.with_messages(lengths.iter().sum());
        Ok(Self {
            soundness,
            claims,
            stream,
            value: entry.value,
            coins,
            lengths,
            turn: 0,
            messages: Vec::new(),
        })
    }

    /// How much is awaited.
    #[must_use]
    pub fn turn(&self) -> Turn {
        self.lengths.get(self.turn).map_or(Turn::Over, |length| Turn::Listen(*length))
    }

    /// Takes in what the prover said; gives the coin that follows, if any does.
    ///
    /// # Errors
    /// [`Reject::TooShort`], [`Reject::TooLong`]: it said more or less than its turn has.
    pub fn hear(&mut self, said: &[Ext]) -> Result<Option<Ext>, Reject> {
        let expected = self.lengths.get(self.turn).copied().unwrap_or(0);
        if said.len() < expected || self.turn() == Turn::Over {
            return Err(Reject::TooShort { message: self.messages.len().saturating_add(said.len()) });
        }
        if let Some(extra) = said.len().checked_sub(expected).filter(|extra| *extra > 0) {
            return Err(Reject::TooLong { extra });
        }
        self.messages.extend_from_slice(said);
        let coin = self.coins.get(self.turn).copied();
        self.turn = self.turn.saturating_add(1);
        Ok(coin)
    }

    /// The verdict, when everything was said.
    ///
    /// # Errors
    /// [`Reject`]: what does not hold.
    pub fn verdict(self) -> Result<Soundness, Reject> {
        let mut said = Said::new(&self.messages, Listed { coins: self.coins.iter() });
        let Left { value, .. } = reduce(&mut said, &self.claims, &self.stream)?;
        said.finish()?;
        if value != self.value {
            return Err(Reject::Weights { matrix: "some matrix" });
        }
        self.soundness.checked()
    }
}

/// Coins that were given out.
struct Listed<'c> {
    coins: std::slice::Iter<'c, Ext>,
}

impl Coins for Listed<'_> {
    fn absorb_elements(&mut self, _: Label, _: &[Ext]) {}

    fn challenge(&mut self, _: Label) -> Ext {
        self.coins.next().copied().unwrap_or_default()
    }
}
