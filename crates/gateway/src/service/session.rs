//! One answer while it is written: from the server's tokens to the client's bytes, and to the record of both. Never shows
//! a byte that is not hashed, and never forgets what was shown, whoever ended it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use protocol::fingerprint::LogitFingerprint;
use protocol::id::ChainHash;
use protocol::receipt::{
    FinishCode, RECEIPT_VERSION, Receipt, ReceiptMode, RequestTag, ResponseHasher, request_digest,
};
use protocol::seed::derive_seed;
use protocol::{Claim, FinishReason, Logprobs, Nonce, TokenLogprobs};
use serde_json::Value;
use tokenizer::{StreamDecoder, Tokenizer};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::access::Reservation;
use crate::idempotency::RetryTicket;
use crate::logprobs::{LogprobWriter, ShownLogprobs, logprobs_json};
use crate::openai::{self, Answer, DONE, StopFilter, Usage, Wanted};
use crate::record::{Answered, Dropped, Record};
use crate::server_link::{Command, Reply};

use super::Service;
use super::account::{Account, Ending};

/// A client that takes nothing for so long is taken to have left.
const CLIENT_IDLE: Duration = Duration::from_secs(60);

/// Where an answer goes.
pub(super) enum Sink {
    Stream(mpsc::Sender<Bytes>),
    Whole(Option<oneshot::Sender<Result<Bytes, Bytes>>>),
}

/// One answer while it is written.
pub(super) struct Session {
    pub(super) service: Arc<Service>,
    pub(super) tag: u64,
    pub(super) nonce: Nonce,
    /// If the request has a key. Dropped without an end, it says that the answer was cut off.
    pub(super) retry: Option<RetryTicket>,
    pub(super) templated: bool,
    pub(super) answer: Answer,
    pub(super) sink: Sink,
    pub(super) filter: StopFilter,
    pub(super) wanted: Wanted,
    pub(super) prompt_ids: Vec<u32>,
    pub(super) hasher: ResponseHasher,
    pub(super) text: String,
    pub(super) output_ids: Vec<u32>,
    pub(super) fingerprints: Vec<LogitFingerprint>,
    /// One per token if they are wanted, none if not.
    pub(super) logprobs: Vec<TokenLogprobs>,
    pub(super) writer: LogprobWriter,
    /// Of a whole answer's text so far, or of the end of a stream.
    pub(super) shown_logprobs: Vec<ShownLogprobs>,
    /// When the server was asked.
    pub(super) asked: Instant,
    pub(super) account: Account,
    pub(super) reserved: Reservation,
    /// Given back when the answer is done.
    pub(super) _slot: OwnedSemaphorePermit,
}

/// How a session ends.
enum End {
    Finished(FinishReason),
    /// A stop sequence came: the rest is not wanted.
    Stopped,
    /// The client left. Nothing more goes to it, so that no gap is followed by a proper end.
    Left,
    /// A stable name, and what clients are told.
    Failed(&'static str, String),
}

impl Session {
    pub(super) async fn run(mut self: Box<Self>, replies: mpsc::UnboundedReceiver<Reply>) {
        let service = Arc::clone(&self.service);
        let mut end = self.read(&service.tokenizer, replies).await;
        if matches!(end, End::Finished(_) | End::Stopped) && !self.let_out_whole().await {
            end = End::Left;
        }
        self.settle(&end);
        let ending = self.ending(&service, &end);
        let unwanted = matches!(end, End::Stopped | End::Left);
        if unwanted && service.commands.send(Command::ReaderLeft(self.tag)).await.is_err() {
            tracing::debug!("the server is gone already");
        }
        let (is_failed, is_left) = (matches!(end, End::Failed(..)), matches!(end, End::Left));
        let (finish, reason) = match &end {
            End::Finished(finish) => (*finish, ""),
            End::Stopped | End::Left => (FinishReason::ReaderLeft, "reader_left"),
            End::Failed(reason, _) => (FinishReason::ReaderLeft, *reason),
        };
        let mut body = match end {
            End::Finished(_) | End::Stopped => self.deliver_end(finish, None).await,
            End::Failed(_, message) => self.deliver_end(finish, Some(&message)).await,
            End::Left => None,
        };
        // What was delivered is recorded and may be recomputed, whoever ended it.
        if finish != FinishReason::ReaderLeft || !self.output_ids.is_empty() {
            let is_recorded = self.record(finish, is_failed).await;
            let is_stream = matches!(self.sink, Sink::Stream(_));
            if is_recorded
                && !is_left
                && (is_stream || matches!(body, Some(Ok(_))))
                && let Some(retry) = self.retry.take()
            {
                retry.done(self.tag, is_stream);
            }
            if !is_recorded && body.is_some() {
                // What has no record is not given out, as long as it can be held back.
                let message = "the answer could not be recorded, so it is not given out";
                body = Some(Err(openai::error_json(message, "server_error", None).to_string().into()));
            }
        } else {
            self.record_dropped(reason).await;
            service.receipts.forget(self.tag);
            service.settle_egress(self.tag, false);
        }
        let whole = matches!(self.sink, Sink::Whole(_)).then(|| {
            let (Ok(bytes) | Err(bytes)) = body.as_ref()?;
            Some((bytes.len(), matches!(body, Some(Ok(_)))))
        });
        self.account.close(&ending, whole, &service.metrics);
        if let (Sink::Whole(sender), Some(body)) = (&mut self.sink, body)
            && let Some(sender) = sender.take()
        {
            // A client that left does not need it.
            let _ = sender.send(body);
        }
    }

    /// For the log and for monitors.
    fn ending<'a>(&self, service: &'a Service, end: &End) -> Ending<'a> {
        let finish = match end {
            End::Finished(finish) => openai::finish_reason(*finish, self.filter.is_stopped()),
            End::Stopped => "stop",
            End::Left => "reader_left",
            End::Failed(reason, _) => reason,
        };
        Ending {
            tag: self.tag,
            model: &service.entry.entry().name,
            prompt_tokens: self.prompt_ids.len(),
            completion_tokens: self.output_ids.len(),
            finish,
        }
    }

    /// Gives reserved tokens back that were not used, by own count. A server that failed before its first token has
    /// used none; a client that left has used its prompt.
    fn settle(&mut self, end: &End) {
        let has_failed = matches!(end, End::Failed(..)) && self.output_ids.is_empty();
        let tokens = self.prompt_ids.len().saturating_add(self.output_ids.len());
        let used = if has_failed { 0 } else { u32::try_from(tokens).unwrap_or(u32::MAX) };
        self.reserved.settle(used);
    }

    /// Sends the end of a stream, or makes the body: hashed now, sent when the answer is recorded.
    async fn deliver_end(
        &mut self,
        finish: FinishReason,
        failed: Option<&str>,
    ) -> Option<Result<Bytes, Bytes>> {
        let last = self.last_bytes(finish, failed);
        match &self.sink {
            Sink::Stream(_) => {
                // A client that left before the end has not got the answer.
                if !self.send(last).await || failed.is_some() {
                    self.retry = None;
                }
                None
            }
            Sink::Whole(sender) => {
                if sender.as_ref().is_none_or(oneshot::Sender::is_closed) {
                    return None;
                }
                self.hasher.update(&last);
                self.retry.iter_mut().for_each(|retry| retry.keep(&last));
                let last = Bytes::from(last);
                Some(if failed.is_some() { Err(last) } else { Ok(last) })
            }
        }
    }

    /// Reads tokens until there are no more, or nobody wants them.
    async fn read(&mut self, tokenizer: &Tokenizer, mut replies: mpsc::UnboundedReceiver<Reply>) -> End {
        let mut decoder = StreamDecoder::new(tokenizer);
        if matches!(self.sink, Sink::Stream(_)) && self.answer.chat {
            let role = self.answer.chunk(Some(""), true, None);
            if !self.send(role).await {
                return End::Left;
            }
        }
        loop {
            let reply = tokio::select! {
                reply = replies.recv() => reply,
                () = closed(&mut self.sink) => return End::Left,
            };
            match reply {
                Some(Reply::Token { id, fingerprint, logprobs }) => {
                    if self.output_ids.is_empty() {
                        self.service.metrics.first_token.observe(self.asked.elapsed());
                    }
                    self.output_ids.push(id);
                    self.fingerprints.push(fingerprint);
                    // The machine has checked that the id is one.
                    let text = decoder.push(id).unwrap_or_default();
                    if let Some(logprobs) = logprobs {
                        self.writer.push(tokenizer, id, &logprobs, &text);
                        self.logprobs.push(logprobs);
                    }
                    let text = self.filter.push(&text);
                    if !self.show(&text).await {
                        return End::Left;
                    }
                    if self.filter.is_stopped() {
                        return End::Stopped;
                    }
                }
                Some(Reply::Finished(finish)) => {
                    if finish == FinishReason::EndToken {
                        self.writer.end_token();
                    }
                    let mut text = self.filter.push(&decoder.finish());
                    text.push_str(&self.filter.finish());
                    if !self.show(&text).await {
                        return End::Left;
                    }
                    if !self.filter.is_stopped() {
                        self.shown_logprobs.extend(self.writer.rest());
                    }
                    return End::Finished(finish);
                }
                Some(Reply::Refused) => {
                    return End::Failed("no_room", "the server has no room; try again".to_owned());
                }
                Some(Reply::Killed(reason)) => {
                    let message = format!("the server was stopped: {}", reason.code());
                    return End::Failed("server_killed", message);
                }
                None => return End::Failed("server_gone", "the server is gone".to_owned()),
            }
        }
    }

    /// Shows a piece of text; false if nobody is there.
    async fn show(&mut self, text: &str) -> bool {
        if text.is_empty() {
            return true;
        }
        let shown = self.writer.shown(text);
        match self.sink {
            Sink::Stream(_) => {
                if !self.service.let_out(self.tag, text.len()).await {
                    return false;
                }
                let logprobs = self.logprobs_json(&shown);
                let chunk = self.answer.chunk_with(Some(text), false, None, logprobs);
                self.send(chunk).await
            }
            Sink::Whole(_) => {
                self.shown_logprobs.extend(shown);
                self.text.push_str(text);
                true
            }
        }
    }

    /// Waits until a whole answer's text may leave; false if it never may.
    async fn let_out_whole(&self) -> bool {
        matches!(self.sink, Sink::Stream(_)) || self.service.let_out(self.tag, self.text.len()).await
    }

    /// What clients see of them: nothing if they did not ask.
    fn logprobs_json(&self, shown: &[ShownLogprobs]) -> Value {
        if self.wanted.logprobs.is_none() { Value::Null } else { logprobs_json(self.answer.chat, shown) }
    }

    /// Sends bytes of a stream, and counts them as delivered if there was room for them in time.
    async fn send(&mut self, bytes: Vec<u8>) -> bool {
        let Sink::Stream(sender) = &self.sink else { return true };
        match tokio::time::timeout(CLIENT_IDLE, sender.reserve()).await {
            Ok(Ok(place)) => {
                self.hasher.update(&bytes);
                self.account.piece(bytes.len(), &self.service.metrics);
                self.retry.iter_mut().for_each(|retry| retry.keep(&bytes));
                place.send(Bytes::from(bytes));
                true
            }
            // Gone, or so slow that it may as well be.
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// The end of a stream, or the whole body.
    fn last_bytes(&self, finish: FinishReason, failed: Option<&str>) -> Vec<u8> {
        let usage = Usage { prompt_tokens: self.prompt_ids.len(), completion_tokens: self.output_ids.len() };
        let reason = openai::finish_reason(finish, self.filter.is_stopped());
        match (&self.sink, failed) {
            (Sink::Whole(_), None) => {
                let logprobs = self.logprobs_json(&self.shown_logprobs);
                return self.answer.whole_with(&self.text, reason, usage, logprobs);
            }
            (Sink::Whole(_), Some(message)) => {
                return openai::error_json(message, "server_error", None).to_string().into_bytes();
            }
            (Sink::Stream(_), Some(message)) => return Answer::error_chunk(message),
            (Sink::Stream(_), None) => {}
        }
        let logprobs = match self.shown_logprobs.as_slice() {
            [] => Value::Null,
            rest => self.logprobs_json(rest),
        };
        let mut bytes = self.answer.chunk_with(None, false, Some(reason), logprobs);
        if self.wanted.include_usage {
            bytes.extend(self.answer.usage_chunk(usage));
        }
        bytes.extend_from_slice(DONE);
        bytes
    }

    /// Writes the answer down, and gives a receipt when it is durable; false if it could not be written.
    /// If the server failed, what was delivered is a claim all the same, but not one about a complete answer.
    async fn record(&mut self, finish: FinishReason, is_failed: bool) -> bool {
        let service = &self.service;
        let claim = self.claim(finish);
        let encoded = claim.encode();
        let digest = Claim::digest_of(&encoded);
        let response = self.hasher.digest();
        let receipt = Receipt {
            version: RECEIPT_VERSION,
            gateway: service.key.verifying_key().id(),
            tag: RequestTag { counter: self.tag, nonce: claim.nonce },
            model: claim.model,
            template: claim.template,
            request: request_digest(&claim.prompt_ids, &claim.settings, &claim.client_seed, &claim.nonce),
            response,
            prompt_tokens: u32::try_from(claim.prompt_ids.len()).unwrap_or(u32::MAX),
            output_tokens: u32::try_from(claim.output_ids.len()).unwrap_or(u32::MAX),
            finish: if is_failed { FinishCode::Failed } else { finish.into() },
            claim: (!is_failed).then_some(digest),
            chain: ChainHash::from_bytes([0; 32]),
            sequence: 0,
            issued_unix_ms: 0,
            mode: ReceiptMode::Exact,
        };
        // Whether it is picked is decided when it gets its place in the log.
        let answered = Answered { tag: self.tag, picked: false, response: *response.as_bytes(), claim };
        service.finish_record(answered, encoded, digest, receipt).await
    }

    /// Writes down that there is no answer, and waits until that is durable.
    async fn record_dropped(&self, reason: &str) {
        let Self { service, prompt_ids, wanted, .. } = self;
        let request = request_digest(prompt_ids, &wanted.settings, &wanted.client_seed, &self.nonce);
        let record = Record::Dropped(Box::new(Dropped {
            tag: self.tag,
            request: *request.as_bytes(),
            response: *self.hasher.digest().as_bytes(),
            reason: reason.to_owned(),
        }));
        let written = match service.log.append_encoded(record.kind(), record.encode()) {
            Ok(promise) => service.log.durable(promise).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            // The log takes nothing more then, and without it no request is taken.
            tracing::error!(self.tag, %error, "a request without an answer could not be recorded");
        }
    }

    fn claim(&self, finish: FinishReason) -> Claim {
        let entry = self.service.entry.entry();
        let nonce = self.nonce;
        Claim {
            version: protocol::claim::CLAIM_VERSION,
            numerics: entry.numerics.clone(),
            model: entry.model,
            template: entry.template.filter(|_| self.templated),
            prompt_ids: self.prompt_ids.clone(),
            settings: self.wanted.settings,
            client_seed: self.wanted.client_seed,
            nonce,
            seed: derive_seed(&nonce, &self.wanted.client_seed),
            output_bytes: self.service.tokenizer.decode_bytes(&self.output_ids).unwrap_or_default(),
            output_ids: self.output_ids.clone(),
            finish,
            fingerprints: self.fingerprints.clone(),
            logprobs: self.wanted.logprobs.map(|top| Logprobs { top, tokens: self.logprobs.clone() }),
            trace: None,
        }
    }
}

/// When nobody reads the answer any more.
async fn closed(sink: &mut Sink) {
    match sink {
        Sink::Stream(sender) => sender.closed().await,
        Sink::Whole(Some(sender)) => sender.closed().await,
        Sink::Whole(None) => std::future::pending().await,
    }
}
