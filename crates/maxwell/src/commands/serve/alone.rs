//! The server on its own, for people without a gateway: the OpenAI API straight to the engine. Nothing is tagged, recorded
//! or recomputed, so it must never give out a receipt.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engine::Engine;
use gateway::body::MAX_BODY_BYTES;
use gateway::logprobs::{LogprobWriter, ShownLogprobs, logprobs_json};
use gateway::openai::{self, Answer, DONE, StopFilter, Usage, Wanted, error_json};
use model::Model;
use protocol::link::{FromServer, ToServer};
use protocol::{FinishReason, Nonce};
use serde_json::{Value, json};
use tokenizer::{StreamDecoder, Tokenizer};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::cheat::Cheater;
use super::{QUEUE, SEQUENCES_MAX, ServeArguments, Shell, serve};
use crate::commands::whitelist::entry_name;
use crate::models;
use crate::random::random_bytes;
use crate::signals::StopSignal;

/// Pieces of an answer that wait for a slow client. Tokens wait behind them, at most as many as were asked for.
const BODY_QUEUE: usize = 16;

/// Serves until it is told to stop; the number of answers.
pub(super) fn run(model: &str, arguments: &ServeArguments, shell: &Shell) -> anyhow::Result<u64> {
    let opened = models::open(&shell.home, shell.terminal, model)?;
    let engine = opened.engine(arguments.run)?;
    let (sender, messages) = sync_channel(QUEUE);
    let app = Arc::new(App {
        name: entry_name(None, &opened.file)?,
        model: Arc::clone(&opened.model),
        messages: sender,
        replies: Mutex::default(),
        next_tag: AtomicU64::new(0),
        answers: AtomicU64::new(0),
        places: Arc::new(Semaphore::new(SEQUENCES_MAX)),
    });
    let computing = Arc::clone(&app);
    // Ends with the program: it has nothing to write down.
    thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || compute(&engine, &messages, &computing))
        .context("can't start a thread")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("can't start threads")?.block_on(listen(Arc::clone(&app), arguments.port, shell))?;
    Ok(app.answers.load(Ordering::Relaxed))
}

fn compute(engine: &Engine, messages: &Receiver<ToServer>, app: &App) {
    serve(engine, &[], messages, Cheater::new(None, &[]), |out| {
        let replies = app.replies.lock().unwrap_or_else(PoisonError::into_inner);
        for message in out {
            if let Some(reply) = tag_of(&message).and_then(|tag| replies.get(&tag)) {
                // Whoever left has taken itself out, or is about to.
                let _ = reply.send(message);
            }
        }
        true
    });
}

const fn tag_of(message: &FromServer) -> Option<u64> {
    match message {
        FromServer::Token { tag, .. } | FromServer::Finished { tag, .. } | FromServer::Refused { tag } => {
            Some(*tag)
        }
        FromServer::Ready | FromServer::Readback { .. } => None,
    }
}

async fn listen(app: Arc<App>, port: u16, shell: &Shell) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("port {port} is taken; give another --port"))?;
    let address = listener.local_addr().context("the port has no address")?;
    shell
        .terminal
        .note(format_args!("serving at http://{address}/v1, without a gateway: nothing is checked"));
    let routes = Router::new()
        .route("/v1/chat/completions", post(|State(app), body| answer(app, body, true)))
        .route("/v1/completions", post(|State(app), body| answer(app, body, false)))
        .route("/v1/models", get(list))
        .route("/health", get(|| async { axum::Json(json!({ "mode": "alone" })) }))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "there is no such path", None) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app);
    let mut stop = StopSignal::new();
    tokio::select! {
        served = axum::serve(listener, routes) => served.context("the API ended"),
        () = stop.next() => Ok(()),
    }
}

/// What all connections share.
struct App {
    name: String,
    model: Arc<Model>,
    messages: SyncSender<ToServer>,
    replies: Mutex<BTreeMap<u64, mpsc::UnboundedSender<FromServer>>>,
    next_tag: AtomicU64,
    answers: AtomicU64,
    places: Arc<Semaphore>,
}

/// A request that the engine has. Dropped before its end, it is cancelled.
struct Running {
    app: Arc<App>,
    tag: u64,
    replies: mpsc::UnboundedReceiver<FromServer>,
    is_finished: bool,
    /// Given back at the end.
    _place: OwnedSemaphorePermit,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.app.replies.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.tag);
        // Without room for it the answer is computed to its end: at most so many tokens as were asked for.
        if !self.is_finished && self.app.messages.try_send(ToServer::Cancel { tag: self.tag }).is_err() {
            tracing::debug!(tag = self.tag, "not cancelled");
        }
    }
}

impl App {
    /// Hands a request to the engine; `None` if there is no room.
    fn ask(self: &Arc<Self>, prompt_ids: Vec<u32>, wanted: &Wanted) -> anyhow::Result<Option<Running>> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return Ok(None) };
        let tag = self.next_tag.fetch_add(1, Ordering::Relaxed);
        let (settings, client_seed) = (wanted.settings, wanted.client_seed);
        let nonce = Nonce::from_bytes(random_bytes()?);
        let (sender, replies) = mpsc::unbounded_channel();
        self.replies.lock().unwrap_or_else(PoisonError::into_inner).insert(tag, sender);
        let running = Running { app: Arc::clone(self), tag, replies, is_finished: false, _place: place };
        let logprobs = wanted.logprobs;
        let message = ToServer::Generate { tag, prompt_ids, settings, nonce, client_seed, logprobs };
        Ok(self.messages.try_send(message).is_ok().then_some(running))
    }
}

/// What comes next of an answer.
enum Piece {
    Text(String, Vec<ShownLogprobs>),
    /// The last text, and OpenAI's word for why it ends.
    End(String, Vec<ShownLogprobs>, &'static str),
    Failed,
}

/// One answer while it is written.
struct Writer<'t> {
    running: Running,
    /// Until the end.
    decoder: Option<StreamDecoder<'t>>,
    filter: StopFilter,
    tokens: usize,
    tokenizer: &'t Tokenizer,
    logprobs: LogprobWriter,
}

impl<'t> Writer<'t> {
    fn new(running: Running, tokenizer: &'t Tokenizer, stops: Vec<String>) -> Self {
        let (decoder, filter) = (Some(StreamDecoder::new(tokenizer)), StopFilter::new(stops));
        Self { running, decoder, filter, tokens: 0, tokenizer, logprobs: LogprobWriter::default() }
    }

    async fn next(&mut self) -> Piece {
        match self.running.replies.recv().await {
            Some(FromServer::Token { id, logprobs, .. }) => {
                self.tokens += 1;
                let text = self.decoder.as_mut().map(|decoder| decoder.push(id).unwrap_or_default());
                let text = text.unwrap_or_default();
                if let Some(logprobs) = logprobs {
                    self.logprobs.push(self.tokenizer, id, &logprobs, &text);
                }
                let text = self.filter.push(&text);
                if self.filter.is_stopped() {
                    return self.end(text, FinishReason::ReaderLeft, false);
                }
                let shown = self.logprobs.shown(&text);
                Piece::Text(text, shown)
            }
            Some(FromServer::Finished { finish, .. }) => {
                if finish == FinishReason::EndToken {
                    self.logprobs.end_token();
                }
                let rest = self.decoder.take().map(StreamDecoder::finish).unwrap_or_default();
                let mut text = self.filter.push(&rest);
                text.push_str(&self.filter.finish());
                self.end(text, finish, true)
            }
            Some(FromServer::Refused { .. } | FromServer::Ready | FromServer::Readback { .. }) | None => {
                Piece::Failed
            }
        }
    }

    fn end(&mut self, text: String, finish: FinishReason, is_finished: bool) -> Piece {
        self.running.is_finished = is_finished;
        self.running.app.answers.fetch_add(1, Ordering::Relaxed);
        let mut shown = self.logprobs.shown(&text);
        if !self.filter.is_stopped() {
            shown.extend(self.logprobs.rest());
        }
        Piece::End(text, shown, openai::finish_reason(finish, self.filter.is_stopped()))
    }
}

fn refuse(status: StatusCode, message: &str, param: Option<&str>) -> Response {
    let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
    (status, axum::Json(error_json(message, kind, param))).into_response()
}

async fn answer(app: Arc<App>, body: Bytes, chat: bool) -> Response {
    let wanted = match Wanted::parse(&body, chat) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.message, error.param),
    };
    if wanted.model != app.name {
        let message = format!("the model {:?} is not served here; {:?} is", wanted.model, app.name);
        return refuse(StatusCode::NOT_FOUND, &message, Some("model"));
    }
    let (model, prompt) = (Arc::clone(&app.model), wanted.prompt.clone());
    let encoded =
        tokio::task::spawn_blocking(move || prompt.encode(&model.tokenizer, model.config.context)).await;
    let prompt_ids = match encoded {
        Ok(Ok(ids)) => ids,
        Ok(Err(error)) => return refuse(StatusCode::BAD_REQUEST, &error.message, error.param),
        Err(_) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the prompt could not be encoded", None),
    };
    let prompt_tokens = prompt_ids.len();
    let running = match app.ask(prompt_ids, &wanted) {
        Ok(Some(running)) => running,
        Ok(None) => {
            let mut full =
                refuse(StatusCode::TOO_MANY_REQUESTS, "all places are taken; try again in a moment", None);
            full.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return full;
        }
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), None),
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = format!("{}-{:016x}", if chat { "chatcmpl" } else { "cmpl" }, running.tag);
    let answer = Answer { id, created: since.as_secs(), model: app.name.clone(), chat };
    if wanted.stream {
        stream(answer, wanted, running, prompt_tokens)
    } else {
        whole(answer, wanted, running, prompt_tokens).await
    }
}

async fn whole(answer: Answer, wanted: Wanted, running: Running, prompt_tokens: usize) -> Response {
    let model = Arc::clone(&running.app.model);
    let mut writer = Writer::new(running, &model.tokenizer, wanted.stops);
    let (mut text, mut logprobs) = (String::new(), Vec::new());
    loop {
        match writer.next().await {
            Piece::Text(piece, shown) => {
                text.push_str(&piece);
                logprobs.extend(shown);
            }
            Piece::End(piece, shown, reason) => {
                text.push_str(&piece);
                logprobs.extend(shown);
                let logprobs = wanted.logprobs.map(|_| logprobs_json(answer.chat, &logprobs));
                let usage = Usage { prompt_tokens, completion_tokens: writer.tokens };
                let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
                return (json, answer.whole_with(&text, reason, usage, logprobs.into())).into_response();
            }
            Piece::Failed => {
                return refuse(StatusCode::BAD_GATEWAY, "the engine has no room; try again", None);
            }
        }
    }
}

fn stream(answer: Answer, wanted: Wanted, running: Running, prompt_tokens: usize) -> Response {
    let (sender, mut pieces) = mpsc::channel(BODY_QUEUE);
    tokio::spawn(async move {
        let left = tokio::select! {
            () = sender.closed() => true,
            () = write(&answer, wanted, running, prompt_tokens, &sender) => false,
        };
        tracing::debug!(left, "a stream ended");
    });
    let pieces = futures_util::stream::poll_fn(move |context| {
        pieces.poll_recv(context).map(|piece| piece.map(Ok::<Bytes, Infallible>))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

/// Writes a stream to its end, or until nobody takes it.
async fn write(
    answer: &Answer,
    wanted: Wanted,
    running: Running,
    prompt_tokens: usize,
    sender: &mpsc::Sender<Bytes>,
) {
    let model = Arc::clone(&running.app.model);
    let mut writer = Writer::new(running, &model.tokenizer, wanted.stops);
    let json = |shown: &[ShownLogprobs]| {
        if wanted.logprobs.is_none() { Value::Null } else { logprobs_json(answer.chat, shown) }
    };
    let mut next = if answer.chat { answer.chunk(Some(""), true, None) } else { Vec::new() };
    let mut is_over = false;
    loop {
        if !next.is_empty() && sender.send(Bytes::from(next)).await.is_err() || is_over {
            return;
        }
        let piece = writer.next().await;
        is_over = !matches!(piece, Piece::Text(..));
        next = match piece {
            Piece::Text(text, _) if text.is_empty() => Vec::new(),
            Piece::Text(text, shown) => answer.chunk_with(Some(&text), false, None, json(&shown)),
            Piece::End(text, shown, reason) => {
                let mut bytes = if text.is_empty() && shown.is_empty() {
                    Vec::new()
                } else {
                    answer.chunk_with(Some(&text), false, None, json(&shown))
                };
                bytes.extend(answer.chunk(None, false, Some(reason)));
                if wanted.include_usage {
                    let usage = Usage { prompt_tokens, completion_tokens: writer.tokens };
                    bytes.extend(answer.usage_chunk(usage));
                }
                bytes.extend_from_slice(DONE);
                bytes
            }
            Piece::Failed => Answer::error_chunk("the engine has no room; try again"),
        };
    }
}

async fn list(State(app): State<Arc<App>>) -> axum::Json<Value> {
    let commitment = app.model.commitment.to_string();
    let model = json!({ "id": app.name, "object": "model", "created": 0, "owned_by": "local", "commitment": commitment });
    axum::Json(json!({ "object": "list", "data": [model] }))
}
