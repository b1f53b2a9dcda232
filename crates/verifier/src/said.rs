//! What the prover says, read in its order; every message goes into the transcript before anything is drawn that it must not know.

use proof_system::field::Ext;
use proof_system::sumcheck::next_claim;
use proof_system::transcript::{Coins, Label, Transcript};

use crate::channel::Reduced;
use crate::error::Reject;

/// Messages, and what was said and drawn so far.
#[derive(Clone, Debug)]
pub struct Said<'p, C = Transcript> {
    messages: &'p [Ext],
    read: usize,
    /// After the last message.
    pub transcript: C,
}

impl<'p, C: Coins> Said<'p, C> {
    /// Nothing is read yet.
    #[must_use]
    pub const fn new(messages: &'p [Ext], transcript: C) -> Self {
        Self { messages, read: 0, transcript }
    }

    /// The next elements, which are not in the transcript yet.
    ///
    /// # Errors
    /// [`Reject::TooShort`].
    pub fn message<const K: usize>(&mut self) -> Result<[Ext; K], Reject> {
        let end = self.read.saturating_add(K);
        let found = self.messages.get(self.read..end).and_then(<[Ext]>::as_array);
        let message = found.ok_or(Reject::TooShort { message: self.read })?;
        self.read = end;
        Ok(*message)
    }

    /// One element.
    ///
    /// # Errors
    /// [`Reject::TooShort`].
    pub fn value(&mut self) -> Result<Ext, Reject> {
        let [value] = self.message::<1>()?;
        self.transcript.absorb_elements(Label::Claims, &[value]);
        Ok(value)
    }

    /// The rounds of a sumcheck of two columns from a claim: the points, the first round's first, and what is left.
    ///
    /// # Errors
    /// [`Reject::TooShort`].
    pub fn rounds<const K: usize>(
        &mut self,
        mut claim: Ext,
        variables: usize,
    ) -> Result<(Vec<Ext>, Ext), Reject> {
        let mut point = Vec::with_capacity(variables);
        for _ in 0..variables {
            let message = self.message::<K>()?;
            let (x, next) = next_claim(message, claim, &mut self.transcript);
            point.push(x);
            claim = next;
        }
        Ok((point, claim))
    }

    /// A sumcheck of a product of columns.
    ///
    /// # Errors
    /// [`Reject::TooShort`], [`Reject::Step`].
    pub fn sumcheck<const K: usize>(&mut self, claim: Ext, variables: usize) -> Result<Reduced<K>, Reject> {
        let (point, claim) = self.rounds::<K>(claim, variables)?;
        let values = self.message::<K>()?;
        self.transcript.absorb_elements(Label::Claims, &values);
        self.equal("a sumcheck", claim, values.into_iter().product())?;
        Ok((point, values))
    }

    /// Fails unless both are the same.
    ///
    /// # Errors
    /// [`Reject::Step`].
    pub fn equal(&self, step: &'static str, a: Ext, b: Ext) -> Result<(), Reject> {
        if a == b { Ok(()) } else { Err(Reject::Step { step, message: self.read }) }
    }

    /// The transcript when everything is read.
    ///
    /// # Errors
    /// [`Reject::TooLong`].
    pub fn finish(self) -> Result<C, Reject> {
        match self.messages.len().checked_sub(self.read) {
            None | Some(0) => Ok(self.transcript),
            Some(extra) => Err(Reject::TooLong { extra }),
        }
    }
}
