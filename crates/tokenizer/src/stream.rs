//! Turns tokens into text as they come. It must never give out half a character.

use crate::{Error, Tokenizer};

/// Decodes a reply token by token. All that [`StreamDecoder::push`] and [`StreamDecoder::finish`] give is
/// together `String::from_utf8_lossy` of the bytes of all tokens.
#[derive(Debug)]
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    /// The start of a character whose end has not come yet.
    pending: Vec<u8>,
}

impl<'a> StreamDecoder<'a> {
    /// Starts an empty reply.
    #[must_use]
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new() }
    }

    /// The text that `id` completes; empty for control tokens and within a character.
    ///
    /// # Errors
    /// [`Error::IdOutOfRange`].
    pub fn push(&mut self, id: u32) -> Result<String, Error> {
        self.pending.extend(self.tokenizer.decode_bytes(&[id])?);
        let complete = self.pending.len() - incomplete_tail(&self.pending);
        let tail = self.pending.split_off(complete);
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = tail;
        Ok(text)
    }

    /// The end of the text: U+FFFD if a character was left unfinished.
    #[must_use]
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// How many of the last bytes could be the start of a character that is not there yet.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(_) => return 0,
            Err(error) => match error.error_len() {
                None => return rest.len() - error.valid_up_to(),
                Some(invalid) => rest = &rest[error.valid_up_to() + invalid..],
            },
        }
    }
}
