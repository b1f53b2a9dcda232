//! Log-probabilities as clients see them: each goes out with the piece of text in which its token begins. Pure. Must
//! never show one of a token whose text is held back or cut off.

use std::collections::VecDeque;

use protocol::logprobs::TokenLogprobs;
use serde_json::{Map, Value, json};
use tokenizer::Tokenizer;

#[cfg(test)]
mod tests;

/// A token as it is written, and its logarithm below 0 in millionths.
type Written = (Vec<u8>, u32);

/// One token of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownLogprobs {
    chosen: Written,
    top: Vec<Written>,
    /// Where its text begins in the answer, in bytes and in characters.
    start: usize,
    start_characters: usize,
}

/// Log-probabilities of one answer while it is written.
#[derive(Debug, Default)]
pub struct LogprobWriter {
    waiting: VecDeque<ShownLogprobs>,
    /// Text that the tokens gave so far.
    bytes: usize,
    characters: usize,
    /// Text that was shown.
    shown: usize,
}

impl LogprobWriter {
    /// The next token; `text` is what it completes.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32, logprobs: &TokenLogprobs, text: &str) {
        let written = |id: u32, below_micronats: u32| {
            // Ids were checked when they came.
            let bytes = tokenizer.token_bytes(id).map(|bytes| bytes.into_owned()).unwrap_or_default();
            (bytes, below_micronats)
        };
        self.waiting.push_back(ShownLogprobs {
            chosen: written(id, logprobs.below_micronats),
            top: logprobs.top.iter().map(|ranked| written(ranked.id, ranked.below_micronats)).collect(),
            start: self.bytes,
            start_characters: self.characters,
        });
        self.bytes = self.bytes.saturating_add(text.len());
        self.characters = self.characters.saturating_add(text.chars().count());
    }

    /// Those that go out with the next piece of text.
    pub fn shown(&mut self, text: &str) -> Vec<ShownLogprobs> {
        self.shown = self.shown.saturating_add(text.len());
        let count = self.waiting.partition_point(|waiting| waiting.start < self.shown);
        self.waiting.drain(..count).collect()
    }

    /// The last token ended the answer: it is none of the answer's text.
    pub fn end_token(&mut self) {
        self.waiting.pop_back();
    }

    /// Those that are left when all text is out: of tokens without a text.
    pub fn rest(&mut self) -> Vec<ShownLogprobs> {
        self.waiting.drain(..).collect()
    }
}

/// In OpenAI's form, which differs between the two endpoints.
pub fn logprobs_json(chat: bool, tokens: &[ShownLogprobs]) -> Value {
    if chat {
        let content: Vec<Value> = tokens.iter().map(chat_token).collect();
        return json!({ "content": content, "refusal": null });
    }
    let top = |token: &ShownLogprobs| {
        // The token itself is always there.
        let all = token.top.iter().chain([&token.chosen]);
        Value::Object(all.map(|(bytes, below)| (name(bytes), number(*below))).collect::<Map<_, _>>())
    };
    json!({
        "tokens": tokens.iter().map(|token| name(&token.chosen.0)).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| number(token.chosen.1)).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": tokens.iter().map(|token| token.start_characters).collect::<Vec<_>>(),
    })
}

fn chat_token(token: &ShownLogprobs) -> Value {
    let one = |(bytes, below): &Written| json!({ "token": String::from_utf8_lossy(bytes), "logprob": number(*below), "bytes": bytes });
    let mut object = one(&token.chosen);
    object["top_logprobs"] = token.top.iter().map(one).collect();
    object
}

/// A token as a text that no other token has: parts of characters are spelled out.
fn name(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let spelled: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{spelled}")
        }
    }
}

/// Exactly the integer, as a number of nats: seven decimals at most.
fn number(below_micronats: u32) -> Value {
    // Zero without a sign.
    json!(if below_micronats == 0 { 0.0 } else { -f64::from(below_micronats) / 1e6 })
}
