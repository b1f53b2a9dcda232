//! The OpenAI API as the gateway speaks it: which fields are read, what they mean in integers, and how answers
//! look. A field that is not in the list is refused by name: whatever reaches the server is known to be there.

use protocol::logprobs::MAX_TOP;
use protocol::{ClientSeed, FinishReason, SamplingSettings};
use serde::Deserialize;
use serde_json::{Value, json};
use tokenizer::{ChatMessage, Special, Tokenizer};

#[cfg(test)]
mod tests;

/// Tokens of an answer if the client names no limit.
const DEFAULT_MAX_TOKENS: u32 = 1024;
/// Most ranked tokens of `/v1/completions`, as in OpenAI's API.
const MAX_TOP_COMPLETIONS: u8 = 5;
/// Most stop sequences, as in OpenAI's API, and the longest one in bytes.
const MAX_STOPS: usize = 4;
const MAX_STOP_BYTES: usize = 256;
/// blake3 `derive_key` context that turns a client's seed into 32 bytes.
const SEED_CONTEXT: &str = "maxwell 2026-11 client seed from number v1";

/// Why a request is refused: status 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// For people.
    pub message: String,
    /// The field, if it is one.
    pub param: Option<&'static str>,
}

fn bad(param: &'static str, message: impl Into<String>) -> BadRequest {
    BadRequest { message: message.into(), param: Some(param) }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: String,
    content: Content,
    /// Accepted and not used: templates have no place for it.
    #[serde(default, rename = "name")]
    _name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    r#type: String,
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

/// Whether, for a conversation; how many, for a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LogprobsWanted {
    Chat(bool),
    Text(u64),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// All fields of both endpoints that are read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    model: String,
    messages: Option<Vec<Message>>,
    prompt: Option<String>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u32>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    seed: Option<i64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u32>,
    stop: Option<Stop>,
    logprobs: Option<LogprobsWanted>,
    top_logprobs: Option<u64>,
    /// Accepted and not used.
    #[serde(rename = "user")]
    _user: Option<String>,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the model.
    pub model: String,
    /// A conversation, or a text to go on with.
    pub prompt: Prompt,
    /// How tokens are chosen. `max_tokens` may still be more than the context holds.
    pub settings: SamplingSettings,
    /// The client's part of the seed.
    pub client_seed: ClientSeed,
    /// Token by token.
    pub stream: bool,
    /// A last chunk with the usage.
    pub include_usage: bool,
    /// The answer ends before any of these.
    pub stops: Vec<String>,
    /// Log-probabilities, with so many ranked tokens.
    pub logprobs: Option<u8>,
}

/// What the model reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// `/v1/chat/completions`
    Chat(Vec<ChatMessage>),
    /// `/v1/completions`
    Text(String),
}

impl Wanted {
    /// Reads a request to `/v1/chat/completions` (`chat`) or `/v1/completions`.
    ///
    /// # Errors
    /// [`BadRequest`], with the field.
    pub fn parse(body: &[u8], chat: bool) -> Result<Self, BadRequest> {
        let body: Body = serde_json::from_slice(body)
            .map_err(|error| BadRequest { message: format!("the body is refused: {error}"), param: None })?;
        if body.n.is_some_and(|n| n != 1) {
            return Err(bad("n", "one answer per request; send the request n times"));
        }
        let settings = settings(&body)?;
        let logprobs = logprobs(chat, body.logprobs, body.top_logprobs)?;
        let prompt = match (chat, body.messages, body.prompt) {
            (true, Some(messages), None) => {
                Prompt::Chat(messages.into_iter().map(chat_message).collect::<Result<Vec<_>, BadRequest>>()?)
            }
            (false, None, Some(text)) => Prompt::Text(text),
            (true, ..) => return Err(bad("messages", "give messages, and no prompt")),
            (false, ..) => return Err(bad("prompt", "give a prompt, and no messages")),
        };
        Ok(Self {
            model: body.model,
            prompt,
            settings,
            client_seed: client_seed(body.seed),
            stream: body.stream.unwrap_or(false),
            include_usage: body.stream_options.is_some_and(|options| options.include_usage),
            stops: stops(body.stop)?,
            logprobs,
        })
    }
}

impl Prompt {
    /// Bytes of its text.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Chat(messages) => messages.iter().map(|message| message.content.len()).sum(),
            Self::Text(text) => text.len(),
        }
    }

    /// The tokens that the model reads: at least one, and fewer than its context. A long text takes a while.
    ///
    /// # Errors
    /// [`BadRequest`], with the field.
    pub fn encode(&self, tokenizer: &Tokenizer, context: u32) -> Result<Vec<u32>, BadRequest> {
        let most = (context as usize).saturating_sub(1);
        let (field, ids) = match self {
            Self::Chat(messages) => ("messages", tokenizer.encode_chat_within(messages, true, most)),
            Self::Text(text) => ("prompt", tokenizer.encode_within(text, Special::AsText, most)),
        };
        let count = match ids {
            Ok(ids) if !ids.is_empty() => return Ok(ids),
            Ok(_) => "no tokens",
            Err(tokenizer::Error::TooManyTokens { .. }) => "more tokens than fit",
            Err(error) => return Err(bad(field, error.to_string())),
        };
        let message = format!("the prompt has {count}; the model's context of {context} holds 1 to {most}");
        Err(bad(field, message))
    }
}

fn chat_message(message: Message) -> Result<ChatMessage, BadRequest> {
    let content = match message.content {
        Content::Text(text) => text,
        Content::Parts(parts) => {
            if parts.iter().any(|part| part.r#type != "text") {
                return Err(bad("messages", "this model reads parts of type text only"));
            }
            parts.into_iter().map(|part| part.text).collect()
        }
    };
    Ok(ChatMessage { role: message.role, content })
}

fn stops(stop: Option<Stop>) -> Result<Vec<String>, BadRequest> {
    let stops = match stop {
        None => Vec::new(),
        Some(Stop::One(one)) => vec![one],
        Some(Stop::Many(many)) => many,
    };
    let fits = |stop: &String| !stop.is_empty() && stop.len() <= MAX_STOP_BYTES;
    if stops.len() > MAX_STOPS || !stops.iter().all(fits) {
        return Err(bad("stop", format!("at most {MAX_STOPS} sequences of 1 to {MAX_STOP_BYTES} bytes")));
    }
    Ok(stops)
}

fn logprobs(chat: bool, wanted: Option<LogprobsWanted>, top: Option<u64>) -> Result<Option<u8>, BadRequest> {
    let within = |count: u64, most: u8| u8::try_from(count).ok().filter(|count| *count <= most);
    match (chat, wanted, top) {
        (_, None, None) | (true, Some(LogprobsWanted::Chat(false)), None) => Ok(None),
        (true, Some(LogprobsWanted::Chat(true)), top) => match within(top.unwrap_or(0), MAX_TOP) {
            Some(top) => Ok(Some(top)),
            None => Err(bad("top_logprobs", format!("top_logprobs is 0 to {MAX_TOP}"))),
        },
        (true, Some(LogprobsWanted::Text(_)), _) => Err(bad("logprobs", "logprobs is true or false here")),
        (true, _, Some(_)) => Err(bad("top_logprobs", "top_logprobs is given with logprobs: true only")),
        (false, _, Some(_)) => Err(bad("top_logprobs", "give logprobs, a number, and no top_logprobs")),
        (false, Some(LogprobsWanted::Text(count)), None) => match within(count, MAX_TOP_COMPLETIONS) {
            Some(top) => Ok(Some(top)),
            None => Err(bad("logprobs", format!("logprobs is 0 to {MAX_TOP_COMPLETIONS}"))),
        },
        (false, Some(LogprobsWanted::Chat(_)), None) => Err(bad("logprobs", "logprobs is a number here")),
    }
}

/// Without a seed the client leaves all to the gateway's nonce.
fn client_seed(seed: Option<i64>) -> ClientSeed {
    let seed = seed.map(|seed| blake3::derive_key(SEED_CONTEXT, &seed.to_le_bytes()));
    ClientSeed::from_bytes(seed.unwrap_or_default())
}

fn settings(body: &Body) -> Result<SamplingSettings, BadRequest> {
    let max_tokens = match (body.max_tokens, body.max_completion_tokens) {
        (Some(_), Some(_)) => {
            return Err(bad("max_tokens", "give max_completion_tokens or max_tokens, not both"));
        }
        (None, None) => DEFAULT_MAX_TOKENS,
        (Some(tokens), None) | (None, Some(tokens)) => tokens,
    };
    let settings = SamplingSettings {
        // OpenAI's defaults.
        temperature_milli: parts(body.temperature, 1.0, 1000.0, "temperature")?,
        top_k: body.top_k.unwrap_or(0),
        top_p_ppm: parts(body.top_p, 1.0, 1e6, "top_p")?,
        min_p_ppm: parts(body.min_p, 0.0, 1e6, "min_p")?,
        repetition_penalty_milli: parts(body.repetition_penalty, 1.0, 1000.0, "repetition_penalty")?,
        max_tokens,
        stop_at_end: true,
    };
    settings.validate().map_err(|limit| BadRequest { message: limit.to_string(), param: None })?;
    Ok(settings)
}

/// A number in parts of `scale`, rounded to the nearest: the claim holds what was really used.
fn parts(value: Option<f64>, default: f64, scale: f64, param: &'static str) -> Result<u32, BadRequest> {
    let scaled = (value.unwrap_or(default) * scale).round();
    if !(0.0..=f64::from(u32::MAX)).contains(&scaled) {
        return Err(bad(param, format!("{param} is out of range")));
    }
    Ok(scaled as u32)
}

/// OpenAI's word for why an answer ends; `stopped` if a stop sequence ended it.
pub fn finish_reason(finish: FinishReason, stopped: bool) -> &'static str {
    match finish {
        _ if stopped => "stop",
        FinishReason::EndToken => "stop",
        FinishReason::Length | FinishReason::ContextFull => "length",
        FinishReason::OutOfRange { .. } => "content_filter",
        FinishReason::ReaderLeft => "stop",
    }
}

/// What all messages of one answer have in common.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `chatcmpl-..` or `cmpl-..`
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// As the client named it.
    pub model: String,
    /// Of a conversation.
    pub chat: bool,
}

/// Tokens read and written.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Read.
    pub prompt_tokens: usize,
    /// Written.
    pub completion_tokens: usize,
}

impl Usage {
    fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens.saturating_add(self.completion_tokens),
        })
    }
}

impl Answer {
    fn object(&self, chunk: bool) -> Value {
        let object = match (self.chat, chunk) {
            (true, true) => "chat.completion.chunk",
            (true, false) => "chat.completion",
            (false, _) => "text_completion",
        };
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model })
    }

    /// The whole answer at once.
    pub fn whole(&self, text: &str, finish: &str, usage: Usage) -> Vec<u8> {
        self.whole_with(text, finish, usage, Value::Null)
    }

    /// The same with log-probabilities.
    pub fn whole_with(&self, text: &str, finish: &str, usage: Usage, logprobs: Value) -> Vec<u8> {
        let mut object = self.object(false);
        object["choices"] = if self.chat {
            let message = json!({ "role": "assistant", "content": text });
            json!([{ "index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish }])
        } else {
            json!([{ "index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish }])
        };
        object["usage"] = usage.json();
        let mut bytes = Vec::with_capacity(text.len() + OBJECT_BYTES);
        write_json(&mut bytes, &object);
        bytes
    }

    /// One event of a stream: text, and at the end why it ends. The first one of a conversation names the role.
    pub fn chunk(&self, text: Option<&str>, first: bool, finish: Option<&str>) -> Vec<u8> {
        self.chunk_with(text, first, finish, Value::Null)
    }

    /// The same with log-probabilities.
    pub fn chunk_with(
        &self,
        text: Option<&str>,
        first: bool,
        finish: Option<&str>,
        logprobs: Value,
    ) -> Vec<u8> {
        let mut object = self.object(true);
        object["choices"] = if self.chat {
            let mut delta = json!({});
            if first {
                delta["role"] = json!("assistant");
            }
            if let Some(text) = text {
                delta["content"] = json!(text);
            }
            json!([{ "index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish }])
        } else {
            let text = text.unwrap_or_default();
            json!([{ "index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish }])
        };
        event(&object)
    }

    /// The last event but one, if the client wants to know.
    pub fn usage_chunk(&self, usage: Usage) -> Vec<u8> {
        let mut object = self.object(true);
        object["choices"] = json!([]);
        object["usage"] = usage.json();
        event(&object)
    }

    /// An event for an answer that breaks off.
    pub fn error_chunk(message: &str) -> Vec<u8> {
        event(&error_json(message, "server_error", None))
    }
}

/// The last event of a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

fn event(object: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(OBJECT_BYTES);
    bytes.extend_from_slice(b"data: ");
    write_json(&mut bytes, object);
    bytes.extend_from_slice(b"\n\n");
    bytes
}

/// About as long as an object is without its text.
const OBJECT_BYTES: usize = 384;

fn write_json(bytes: &mut Vec<u8>, object: &Value) {
    serde_json::to_writer(bytes, object)
        .expect("a value has no keys but strings, and memory takes all bytes");
}

/// An error as clients know it.
pub fn error_json(message: &str, kind: &str, param: Option<&str>) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": param, "code": null } })
}

/// Holds text back as long as it could be the beginning of a stop sequence.
#[derive(Debug, Default)]
pub struct StopFilter {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopFilter {
    /// For these sequences.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), stopped: false }
    }

    /// Takes text in, and returns what is safe to show. Nothing after a stop sequence is.
    pub fn push(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(text);
        // The one that is complete first, so that it does not matter in which pieces the text comes.
        let found = self.stops.iter().filter_map(|stop| {
            let at = self.held.find(stop.as_str())?;
            Some((at.saturating_add(stop.len()), at))
        });
        if let Some((_, at)) = found.min() {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len().saturating_sub(keep));
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether a stop sequence came.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What was held back, once nothing can follow.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` that is a beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().saturating_sub(1).min(text.len());
    (1..=longest).rev().find(|&length| text.as_bytes().ends_with(&stop.as_bytes()[..length])).unwrap_or(0)
}
