//! What the gateway does with its server, as a pure machine: events in, actions out. Time is an argument, and
//! random bytes come with events. Never believes the server: whatever it sends is either what was expected at this
//! point or a reason to kill it.
//!
//! ```text
//! Off ─boot→ Upload ─all groups→ Loading ─ready→ Readback ─right digest→ Serving ─drain→ Drain ─empty→ Off
//! any ─violation, deadline, order→ Killed(reason);  any ─brick→ Bricked
//! ```

use std::collections::{BTreeMap, BTreeSet};

use protocol::FinishReason;
use protocol::fingerprint::LogitFingerprint;
use protocol::link::FromServer;
use protocol::logprobs::TokenLogprobs;

#[cfg(test)]
mod tests;

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No process.
    Off,
    /// Weights go in; nothing may come out. The count is of verified bytes, and lives in memory only.
    Upload {
        /// Bytes of weights that were forwarded.
        sent: u64,
    },
    /// All weights are there; the server makes itself ready.
    Loading,
    /// The first challenge is out.
    Readback,
    /// Requests are answered.
    Serving,
    /// Requests that run are finished, new ones refused.
    Drain,
    /// The process was killed.
    Killed(KillReason),
    /// Never to be started again.
    Bricked,
}

impl Mode {
    /// Stable machine name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Upload { .. } => "upload",
            Self::Loading => "loading",
            Self::Readback => "readback",
            Self::Serving => "serving",
            Self::Drain => "drain",
            Self::Killed(_) => "killed",
            Self::Bricked => "bricked",
        }
    }
}

/// Why a server was killed. Each is the server's fault but the last ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KillReason {
    /// A group of weights is not what the whitelist says.
    Weights,
    /// The server sent something while weights went in.
    EgressInUpload,
    /// A message that is none, or not at this point.
    Message,
    /// Not ready in time.
    LoadLate,
    /// A wrong answer to a challenge: other bytes are in its memory.
    Readback,
    /// No answer to a challenge in time.
    ReadbackLate,
    /// A tag that is not open: never given, or answered before.
    Tag,
    /// A token outside of the vocabulary.
    Vocabulary,
    /// More tokens than were asked for, or a finish that does not fit them.
    Length,
    /// Log-probabilities that were not asked for, that are missing, or that no model gives.
    Logprobs,
    /// No token in time.
    Silent,
    /// The connection ended.
    Gone,
    /// A recomputation failed.
    Audit,
    /// The operator wanted it.
    Operator,
}

impl KillReason {
    /// Stable machine name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::EgressInUpload => "egress_in_upload",
            Self::Message => "message",
            Self::LoadLate => "load_late",
            Self::Readback => "readback",
            Self::ReadbackLate => "readback_late",
            Self::Tag => "tag",
            Self::Vocabulary => "vocabulary",
            Self::Length => "length",
            Self::Logprobs => "logprobs",
            Self::Silent => "silent",
            Self::Gone => "gone",
            Self::Audit => "audit",
            Self::Operator => "operator",
        }
    }
}

/// Limits of one server's life.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Exact size of the weights.
    pub weights_bytes: u64,
    /// Tokens that exist.
    pub vocabulary: u32,
    /// Longest prompt and answer together.
    pub context: u32,
    /// From the last group to ready.
    pub load_ms: u64,
    /// From a challenge to its answer.
    pub readback_ms: u64,
    /// From one token of a request to the next.
    pub silence_ms: u64,
}

/// What is asked of the server under one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Length of the prompt in tokens.
    pub prompt_tokens: u32,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// Log-probabilities with so many ranked tokens.
    pub logprobs: Option<u8>,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process runs and is connected.
    Boot,
    /// A group was checked against the whitelist and forwarded.
    GroupVerified {
        /// Its size.
        bytes: u64,
    },
    /// A group did not fit the whitelist, or there is one too many or too few.
    GroupRefused,
    /// A challenge was sent.
    Challenged {
        /// Its number.
        challenge: u64,
        /// The right answer.
        digest: [u8; 32],
    },
    /// The server said something.
    Server(FromServer),
    /// The server sent bytes that are no message.
    Unreadable,
    /// The connection ended.
    Gone,
    /// A request was sent to the server.
    Asked(u64, Asked),
    /// The reader of an answer left.
    ReaderLeft(u64),
    /// Time passed.
    Tick,
    /// No new requests.
    Drain,
    /// Kill it.
    Kill(KillReason),
    /// Kill it, and never start it again.
    Brick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a challenge, then say [`Event::Challenged`].
    Challenge,
    /// The server may be asked from now on.
    Open,
    /// Hand a token to the request.
    Token {
        /// The request.
        tag: u64,
        /// The token.
        id: u32,
        /// Its logits' fingerprint.
        fingerprint: LogitFingerprint,
        /// If they were asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// The request has its answer, and the tag is closed.
    Finished {
        /// The request.
        tag: u64,
        /// Why.
        finish: FinishReason,
    },
    /// The server did not take the request; the tag is closed.
    Refused {
        /// The request.
        tag: u64,
    },
    /// Tell the server that nobody reads this answer.
    Cancel {
        /// The request.
        tag: u64,
    },
    /// Kill the process; every open tag is closed with what it has.
    Kill(KillReason),
    /// The last request is finished: end the process.
    PowerOff,
}

/// One open tag.
#[derive(Clone, Copy, Debug)]
struct Flight {
    asked: Asked,
    tokens: u32,
    /// An end token came: nothing but the finish may follow.
    is_ended: bool,
    last_ms: u64,
    /// Nobody reads it any more; what still comes is dropped.
    reader_left: bool,
}

/// The machine.
#[derive(Debug)]
pub struct State {
    limits: Limits,
    end_tokens: BTreeSet<u32>,
    mode: Mode,
    /// When the mode began.
    since_ms: u64,
    challenge: Option<(u64, [u8; 32], u64)>,
    flights: BTreeMap<u64, Flight>,
}

impl State {
    /// A server that is off, whose answers end with one of these tokens, or at a limit.
    pub fn new(limits: Limits, end_tokens: BTreeSet<u32>) -> Self {
        let (challenge, flights) = (None, BTreeMap::new());
        Self { limits, end_tokens, mode: Mode::Off, since_ms: 0, challenge, flights }
    }

    /// Where it is.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Requests without an answer.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether an answer to a challenge is awaited.
    pub fn is_challenged(&self) -> bool {
        self.challenge.is_some()
    }

    /// Takes one event in.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        if matches!(self.mode, Mode::Killed(_) | Mode::Bricked) {
            if event == Event::Brick {
                self.mode = Mode::Bricked;
            }
            return Vec::new();
        }
        match event {
            Event::Boot => self.boot(now_ms),
            Event::GroupVerified { bytes } => self.group(now_ms, bytes),
            Event::GroupRefused => self.kill(KillReason::Weights),
            Event::Challenged { challenge, digest } => {
                self.challenge = Some((challenge, digest, now_ms));
                Vec::new()
            }
            Event::Server(message) => self.server(now_ms, message),
            Event::Unreadable => self.kill(KillReason::Message),
            Event::Gone if self.mode == Mode::Off => Vec::new(),
            Event::Gone => self.kill(KillReason::Gone),
            Event::Asked(tag, asked) => {
                let flight =
                    Flight { asked, tokens: 0, is_ended: false, last_ms: now_ms, reader_left: false };
                self.flights.insert(tag, flight);
                Vec::new()
            }
            Event::ReaderLeft(tag) => self.reader_left(tag),
            Event::Tick => self.tick(now_ms),
            Event::Drain => self.drain(now_ms),
            Event::Kill(reason) => self.kill(reason),
            Event::Brick => {
                let actions = self.kill(KillReason::Operator);
                self.mode = Mode::Bricked;
                actions
            }
        }
    }

    fn enter(&mut self, now_ms: u64, mode: Mode) {
        self.mode = mode;
        self.since_ms = now_ms;
    }

    fn boot(&mut self, now_ms: u64) -> Vec<Action> {
        if self.mode != Mode::Off {
            return self.kill(KillReason::Message);
        }
        self.enter(now_ms, Mode::Upload { sent: 0 });
        Vec::new()
    }

    fn group(&mut self, now_ms: u64, bytes: u64) -> Vec<Action> {
        let Mode::Upload { sent } = self.mode else { return self.kill(KillReason::Weights) };
        let sent = sent.saturating_add(bytes);
        if sent > self.limits.weights_bytes {
            return self.kill(KillReason::Weights);
        }
        let whole = sent == self.limits.weights_bytes;
        self.enter(now_ms, if whole { Mode::Loading } else { Mode::Upload { sent } });
        Vec::new()
    }

    fn server(&mut self, now_ms: u64, message: FromServer) -> Vec<Action> {
        match (self.mode, message) {
            (Mode::Upload { .. }, _) => self.kill(KillReason::EgressInUpload),
            (Mode::Loading, FromServer::Ready) => {
                self.enter(now_ms, Mode::Readback);
                vec![Action::Challenge]
            }
            (_, FromServer::Readback { challenge, digest }) => self.readback(now_ms, challenge, digest),
            (Mode::Serving | Mode::Drain, FromServer::Token { tag, id, fingerprint, logprobs }) => {
                self.token(now_ms, tag, id, fingerprint, logprobs)
            }
            (Mode::Serving | Mode::Drain, FromServer::Finished { tag, finish }) => self.finished(tag, finish),
            (Mode::Serving | Mode::Drain, FromServer::Refused { tag }) => match self.flights.remove(&tag) {
                Some(flight) if flight.tokens > 0 => self.kill(KillReason::Message),
                Some(_) => self.after_close(vec![Action::Refused { tag }]),
                None => self.kill(KillReason::Tag),
            },
            _ => self.kill(KillReason::Message),
        }
    }

    fn readback(&mut self, now_ms: u64, challenge: u64, digest: [u8; 32]) -> Vec<Action> {
        match self.challenge.take() {
            Some((number, _, sent_ms))
                if number == challenge && now_ms.saturating_sub(sent_ms) > self.limits.readback_ms =>
            {
                self.kill(KillReason::ReadbackLate)
            }
            Some((number, right, _)) if number == challenge && right == digest => {
                if self.mode == Mode::Readback {
                    self.enter(now_ms, Mode::Serving);
                    return vec![Action::Open];
                }
                Vec::new()
            }
            Some(_) => self.kill(KillReason::Readback),
            None => self.kill(KillReason::Message),
        }
    }

    fn token(
        &mut self,
        now_ms: u64,
        tag: u64,
        id: u32,
        fingerprint: LogitFingerprint,
        logprobs: Option<TokenLogprobs>,
    ) -> Vec<Action> {
        let Some(flight) = self.flights.get_mut(&tag) else { return self.kill(KillReason::Tag) };
        flight.tokens = flight.tokens.saturating_add(1);
        flight.last_ms = now_ms;
        let (reader_left, top) = (flight.reader_left, flight.asked.logprobs);
        let in_context = flight.asked.prompt_tokens.saturating_add(flight.tokens) <= self.limits.context;
        let after_end = std::mem::replace(&mut flight.is_ended, self.end_tokens.contains(&id));
        if after_end || flight.tokens > flight.asked.max_tokens || !in_context {
            return self.kill(KillReason::Length);
        }
        if id >= self.limits.vocabulary {
            return self.kill(KillReason::Vocabulary);
        }
        let fits = match (top, &logprobs) {
            (Some(top), Some(logprobs)) => logprobs.fits(id, top, self.limits.vocabulary),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !fits {
            return self.kill(KillReason::Logprobs);
        }
        if reader_left { Vec::new() } else { vec![Action::Token { tag, id, fingerprint, logprobs }] }
    }

    fn finished(&mut self, tag: u64, finish: FinishReason) -> Vec<Action> {
        let Some(flight) = self.flights.remove(&tag) else { return self.kill(KillReason::Tag) };
        let fits = match finish {
            FinishReason::EndToken => flight.is_ended,
            FinishReason::Length | FinishReason::ContextFull | FinishReason::OutOfRange { .. }
                if flight.is_ended =>
            {
                false
            }
            FinishReason::Length => flight.tokens == flight.asked.max_tokens,
            FinishReason::ContextFull => {
                flight.asked.prompt_tokens.saturating_add(flight.tokens) == self.limits.context
            }
            FinishReason::OutOfRange { .. } => true,
            // The answer to a cancellation.
            FinishReason::ReaderLeft => flight.reader_left,
        };
        if !fits {
            return self.kill(KillReason::Length);
        }
        let finished = if flight.reader_left { Vec::new() } else { vec![Action::Finished { tag, finish }] };
        self.after_close(finished)
    }

    fn reader_left(&mut self, tag: u64) -> Vec<Action> {
        match self.flights.get_mut(&tag) {
            Some(flight) => {
                flight.reader_left = true;
                vec![Action::Cancel { tag }]
            }
            // It was finished meanwhile.
            None => Vec::new(),
        }
    }

    fn tick(&mut self, now_ms: u64) -> Vec<Action> {
        let late = |since_ms: u64, limit_ms: u64| now_ms.saturating_sub(since_ms) > limit_ms;
        if self.mode == Mode::Loading && late(self.since_ms, self.limits.load_ms) {
            return self.kill(KillReason::LoadLate);
        }
        if self.challenge.is_some_and(|(_, _, sent_ms)| late(sent_ms, self.limits.readback_ms)) {
            return self.kill(KillReason::ReadbackLate);
        }
        if self.flights.values().any(|flight| late(flight.last_ms, self.limits.silence_ms)) {
            return self.kill(KillReason::Silent);
        }
        Vec::new()
    }

    fn drain(&mut self, now_ms: u64) -> Vec<Action> {
        self.enter(now_ms, Mode::Drain);
        self.after_close(Vec::new())
    }

    /// The last answer of a drained server turns it off.
    fn after_close(&mut self, mut actions: Vec<Action>) -> Vec<Action> {
        if self.mode == Mode::Drain && self.flights.is_empty() {
            self.mode = Mode::Off;
            actions.push(Action::PowerOff);
        }
        actions
    }

    fn kill(&mut self, reason: KillReason) -> Vec<Action> {
        self.mode = Mode::Killed(reason);
        self.flights.clear();
        self.challenge = None;
        vec![Action::Kill(reason)]
    }
}
