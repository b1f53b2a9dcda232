//! A commitment to all weights of a model, for verifiers without it; made once for any number of proofs.

use model::Model;
use proof_system::commitment::{Committed, Digest};
use proof_system::field::Ext;
use proof_system::kernels::Isa;
use proof_system::transcript::{Coins, Label};
use rayon::prelude::*;
use verifier::channel::Claim;
use verifier::proof::OpenedWeights;
use verifier::verify::Pending;
use verifier::weight_stream::WeightStream;
use verifier::weights::weight_row;
use verifier::{Outline, Unprovable};

use crate::merge;

/// All weights as integers.
#[derive(Debug)]
pub struct WeightIntegers {
    stream: WeightStream,
    integers: Vec<i32>,
}

impl WeightIntegers {
    /// Of a model: 4 bytes of memory for each weight while this lives.
    ///
    /// # Errors
    /// [`Unprovable::Stream`]: some token leaves 32 bits.
    pub fn new(model: &Model) -> Result<Self, Unprovable> {
        let stream = WeightStream::new(&Outline::of(model));
        let mut integers = vec![0_i32; stream.stream.length];
        for (matrix, place, per_block) in stream.places() {
            let own = &mut integers[place.offset..][..place.rows * place.inner];
            own.par_chunks_mut(place.inner).enumerate().try_for_each_init(
                Vec::new,
                |row, (index, out)| {
                    weight_row(model, *matrix, index / per_block, index % per_block, row);
                    out.iter_mut().zip(row).try_for_each(|(out, weight)| {
                        *out = i32::try_from(*weight).map_err(|_| Unprovable::Stream)?;
                        Ok(())
                    })
                },
            )?;
        }
        Ok(Self { stream, integers })
    }

    /// Answers a verifier in conversation, whose coins `coins` gives; what is still to be said after the last one is left to it as well.
    pub fn answer(&self, pending: &Pending, coins: &mut impl Coins) {
        let claims: Vec<Claim> = pending.weights.iter().map(|claim| self.stream.claim(claim)).collect();
        merge::reduce(&claims, &self.integers, &self.stream.stream, coins, Isa::best());
    }
}

/// Weights that were committed to.
#[derive(Debug)]
pub struct CommittedWeights {
    stream: WeightStream,
    committed: Committed,
}

impl CommittedWeights {
    /// Commits to a model's weights: about 20 bytes of memory for each while this lives.
    ///
    /// # Errors
    /// [`Unprovable::Stream`]: some token leaves 32 bits.
    pub fn new(model: &Model) -> Result<Self, Unprovable> {
        let WeightIntegers { stream, integers } = WeightIntegers::new(model)?;
        let committed = Committed::new(integers, stream.stream.shape, Isa::best());
        Ok(Self { stream, committed })
    }

    /// What stands for the weights.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.committed.root()
    }

    /// Opens what a proof needs of the weights.
    #[must_use]
    pub fn open(&self, pending: Pending) -> OpenedWeights {
        let claims: Vec<Claim> = pending.weights.iter().map(|claim| self.stream.claim(claim)).collect();
        let mut transcript = pending.transcript;
        transcript.absorb(Label::Commitment, &self.root());
        let (messages, opening) =
            merge::open(&claims, &self.committed, &self.stream.stream, &mut transcript, Isa::best());
        OpenedWeights { messages, opening }
    }
}

/// A verifier in conversation: what was said since its last coin goes to it when the next one is wanted.
#[derive(Debug)]
pub struct Talk<F> {
    said: Vec<Ext>,
    exchange: F,
    is_over: bool,
}

impl<F: FnMut(&[Ext]) -> Option<Ext>> Talk<F> {
    /// `exchange` says elements to the verifier and gives its next coin, or none when the verifier is gone or wants no more.
    pub const fn new(exchange: F) -> Self {
        Self { said: Vec::new(), exchange, is_over: false }
    }

    /// Says what is left; false if the verifier left before.
    pub fn finish(mut self) -> bool {
        if !self.is_over {
            (self.exchange)(&self.said);
        }
        !self.is_over
    }
}

impl<F: FnMut(&[Ext]) -> Option<Ext>> Coins for Talk<F> {
    fn absorb_elements(&mut self, _: Label, elements: &[Ext]) {
        self.said.extend_from_slice(elements);
    }

    fn challenge(&mut self, _: Label) -> Ext {
        let coin = if self.is_over { None } else { (self.exchange)(&self.said) };
        self.said.clear();
        self.is_over |= coin.is_none();
        coin.unwrap_or_default()
    }
}
