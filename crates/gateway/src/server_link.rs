//! The shell around [`crate::state`]: one server process, its socket, the clock. Carries out what the machine says,
//! and decides nothing. It must never forward a byte of weights that is not checked, and never outlive a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use protocol::FinishReason;
use protocol::fingerprint::LogitFingerprint;
use protocol::group_tree::{GroupVerifier, TreeHead};
use protocol::link::{ByteRange, FromServer, MAX_FROM_SERVER_BYTES, ReadbackHasher, ToServer, frame};
use protocol::logprobs::TokenLogprobs;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::frames::{FrameEnd, read_frame};
use crate::state::{Action, Asked, Event, KillReason, Limits, Mode, State};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Read and written at once, if there is so much: most messages are short.
const READ_BYTES: usize = 32 << 10;
const WRITE_BYTES: usize = 64 << 10;
const READ_MESSAGES: usize = 64;
/// Messages to and from the server that may wait.
const QUEUE: usize = 1024;
/// A server that takes longer for one group of weights has stopped reading.
const GROUP_WITHIN: Duration = Duration::from_secs(60);
/// Ranges of one challenge, and their length.
const CHALLENGE_RANGES: usize = 32;
const CHALLENGE_BYTES: u32 = 4096;
/// On average so long between two challenges while serving.
const CHALLENGE_EVERY_MS: u64 = 10_000;

/// What one server is to load, and how long it may take.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Limits of the machine.
    pub limits: Limits,
    /// With which of its tokens an answer ends.
    pub end_tokens: BTreeSet<u32>,
    /// From the whitelist.
    pub head: TreeHead,
    /// Of nothing so far.
    pub verifier: GroupVerifier,
    /// Where the weights are. The file need not be trusted.
    pub weights: PathBuf,
}

/// From the requests to the link.
#[derive(Debug)]
pub enum Command {
    /// Ask the server.
    Ask {
        /// The message [`ToServer::Generate`], and what it asks for.
        tag: u64,
        /// For the machine.
        asked: Asked,
        /// For the server.
        message: ToServer,
        /// Where the answer goes. As many messages as tokens, and one more.
        reply: mpsc::UnboundedSender<Reply>,
    },
    /// Nobody reads the answer any more.
    ReaderLeft(u64),
    /// Kill the server.
    Kill(KillReason),
    /// Finish what runs, then end.
    Drain,
}

/// From the link to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The next token.
    Token {
        /// The token.
        id: u32,
        /// Of its logits.
        fingerprint: LogitFingerprint,
        /// If they were asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// That was all.
    Finished(FinishReason),
    /// The server has no room.
    Refused,
    /// The server was killed.
    Killed(KillReason),
}

/// Runs one server from upload to its end, and returns how it ended. A server that was not started here has no `child`:
/// what kills it is the end of the link, and whoever started it has to end its process.
pub async fn run(
    config: LinkConfig,
    stream: UnixStream,
    child: Option<Child>,
    commands: mpsc::Receiver<Command>,
    mode: watch::Sender<Mode>,
) -> Mode {
    let (reader, writer) = stream.into_split();
    let (inbound, messages) = mpsc::channel(QUEUE);
    let reading = tokio::spawn(read_messages(reader, inbound));
    let (outbound, to_write) = mpsc::channel(QUEUE);
    let state = State::new(config.limits, config.end_tokens.clone());
    let mut link = Link {
        config,
        state,
        child,
        writing: None,
        mode,
        outbound,
        replies: BTreeMap::new(),
        began: Instant::now(),
        challenges: 0,
        next_challenge_ms: 0,
        preparing: None,
    };
    let end = link.run(messages, commands, writer, to_write).await;
    // Killed on every way out: a server that was drained has nothing more to do either.
    link.kill();
    if let Some(child) = &mut link.child {
        let _ = child.wait().await;
    }
    // Both halves of the socket are dropped with their tasks, whatever they wait for.
    reading.abort();
    if let Some(writing) = link.writing {
        writing.abort();
    }
    end
}

/// What the reader of the socket saw.
#[derive(Debug)]
enum Inbound {
    Message(FromServer),
    Unreadable,
    Gone,
}

async fn read_messages(reader: OwnedReadHalf, inbound: mpsc::Sender<Inbound>) {
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    loop {
        let next = read_message(&mut reader).await;
        let last = !matches!(next, Inbound::Message(_));
        if inbound.send(next).await.is_err() || last {
            return;
        }
    }
}

async fn read_message(reader: &mut BufReader<OwnedReadHalf>) -> Inbound {
    match read_frame(reader, MAX_FROM_SERVER_BYTES).await {
        Ok(bytes) => FromServer::decode(&bytes).map_or(Inbound::Unreadable, Inbound::Message),
        Err(FrameEnd::Gone) => Inbound::Gone,
        Err(FrameEnd::TooLong(_)) => Inbound::Unreadable,
    }
}

async fn write_messages(mut writer: OwnedWriteHalf, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut message) = messages.recv().await {
        // What waits goes out with it.
        while message.len() < WRITE_BYTES
            && let Ok(more) = messages.try_recv()
        {
            message.extend(more);
        }
        // If the server is gone, the reader sees it too.
        if writer.write_all(&message).await.is_err() {
            return;
        }
    }
}

struct Link {
    config: LinkConfig,
    state: State,
    child: Option<Child>,
    writing: Option<JoinHandle<()>>,
    mode: watch::Sender<Mode>,
    outbound: mpsc::Sender<Vec<u8>>,
    replies: BTreeMap<u64, mpsc::UnboundedSender<Reply>>,
    began: Instant,
    challenges: u64,
    next_challenge_ms: u64,
    /// The next challenge while its answer is computed: the loop must not wait for a disk.
    preparing: Option<JoinHandle<Prepared>>,
}

impl Link {
    async fn run(
        &mut self,
        mut messages: mpsc::Receiver<Inbound>,
        mut commands: mpsc::Receiver<Command>,
        mut writer: OwnedWriteHalf,
        to_write: mpsc::Receiver<Vec<u8>>,
    ) -> Mode {
        self.event(Event::Boot).await;
        self.upload(&mut messages, &mut commands, &mut writer).await;
        self.writing = Some(tokio::spawn(write_messages(writer, to_write)));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut has_commander = true;
        let mut read = Vec::new();
        while !matches!(self.state.mode(), Mode::Off | Mode::Killed(_) | Mode::Bricked) {
            tokio::select! {
                // The server's messages first: a deadline is missed only if nothing had come.
                biased;
                count = messages.recv_many(&mut read, READ_MESSAGES) => {
                    if count == 0 {
                        self.event(Event::Gone).await;
                    }
                    for message in read.drain(..) {
                        self.event(event_of(Some(message))).await;
                    }
                }
                command = commands.recv(), if has_commander => {
                    // A closed channel is always ready, so asking it again would stop the clock.
                    has_commander = command.is_some();
                    self.command(command.unwrap_or(Command::Drain)).await;
                }
                prepared = ready(&mut self.preparing) => self.challenge(prepared).await,
                _ = tick.tick() => self.tick().await,
            }
        }
        self.state.mode()
    }

    fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            // It fails only if the process has ended.
            let _ = child.start_kill();
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Sends the weights, group by group, each only after it was checked. Anything that comes back meanwhile ends
    /// the server.
    async fn upload(
        &mut self,
        messages: &mut mpsc::Receiver<Inbound>,
        commands: &mut mpsc::Receiver<Command>,
        writer: &mut OwnedWriteHalf,
    ) {
        let head = self.config.head;
        let mut verifier = self.config.verifier.clone();
        let Ok(mut file) = File::open(&self.config.weights).await else {
            return self.event(Event::GroupRefused).await;
        };
        let announced = frame(&ToServer::Weights { bytes: head.bytes }.encode());
        if writer.write_all(&announced).await.is_err() {
            return self.event(Event::Gone).await;
        }
        let (mut left, mut index) = (head.bytes, 0);
        while left > 0 {
            let length = left.min(u64::from(head.group_bytes));
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            if file.read_exact(&mut bytes).await.is_err() || verifier.verify(index, &bytes).is_err() {
                return self.event(Event::GroupRefused).await;
            }
            if let Ok(message) = messages.try_recv() {
                return self.event(event_of(Some(message))).await;
            }
            let message = frame(&ToServer::Group { bytes }.encode());
            let end = write_group(writer, &message, messages, commands).await;
            let sent = end.is_none();
            // The last group makes the server load; from then on it may say that it is ready.
            self.event(end.unwrap_or(Event::GroupVerified { bytes: length })).await;
            if !sent {
                return;
            }
            left = left.saturating_sub(length);
            index += 1;
        }
        // One byte more than the whitelist says is as bad as one less.
        let longer = file.read(&mut [0]).await.map_or(true, |more| more > 0);
        if longer || verifier.finish().is_err() || self.state.mode() != Mode::Loading {
            self.event(Event::GroupRefused).await;
        }
    }

    async fn tick(&mut self) {
        self.event(Event::Tick).await;
        // One challenge at a time: a second one would give the first another deadline.
        let due = self.now_ms() >= self.next_challenge_ms && !self.state.is_challenged();
        if self.state.mode() == Mode::Serving && due {
            self.prepare();
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Ask { tag, asked, message, reply } => {
                if self.state.mode() != Mode::Serving {
                    let _ = reply.send(Reply::Refused);
                    return;
                }
                self.replies.insert(tag, reply);
                self.event(Event::Asked(tag, asked)).await;
                self.send(&message).await;
            }
            Command::ReaderLeft(tag) => {
                self.replies.remove(&tag);
                self.event(Event::ReaderLeft(tag)).await;
            }
            Command::Kill(reason) => self.event(Event::Kill(reason)).await,
            Command::Drain => self.event(Event::Drain).await,
        }
    }

    /// Gives an event to the machine and does what it says.
    async fn event(&mut self, event: Event) {
        let now_ms = self.now_ms();
        for action in self.state.handle(now_ms, event) {
            match action {
                Action::Challenge => self.prepare(),
                Action::Open => self.next_challenge_ms = now_ms.saturating_add(CHALLENGE_EVERY_MS),
                Action::Token { tag, id, fingerprint, logprobs } => {
                    self.reply(tag, Reply::Token { id, fingerprint, logprobs });
                }
                Action::Finished { tag, finish } => {
                    self.reply(tag, Reply::Finished(finish));
                    self.replies.remove(&tag);
                }
                Action::Refused { tag } => {
                    self.reply(tag, Reply::Refused);
                    self.replies.remove(&tag);
                }
                Action::Cancel { tag } => self.send(&ToServer::Cancel { tag }).await,
                Action::Kill(reason) => {
                    // The process first: what it holds must not get out while we tidy up.
                    self.kill();
                    tracing::error!(reason = reason.code(), "server killed");
                    for reply in std::mem::take(&mut self.replies).into_values() {
                        let _ = reply.send(Reply::Killed(reason));
                    }
                }
                Action::PowerOff => {}
            }
        }
        if *self.mode.borrow() != self.state.mode() {
            self.mode.send_replace(self.state.mode());
        }
    }

    fn reply(&self, tag: u64, reply: Reply) {
        if let Some(sender) = self.replies.get(&tag) {
            // A request that is gone says so itself.
            let _ = sender.send(reply);
        }
    }

    /// Sends a message. A server that stops reading until the queue is full has stopped answering, too; waiting for
    /// it would stop the clock for everybody.
    async fn send(&mut self, message: &ToServer) {
        match self.outbound.try_send(frame(&message.encode())) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                Box::pin(self.event(Event::Kill(KillReason::Silent))).await;
            }
            // The reader sees that the server is gone.
            Err(mpsc::error::TrySendError::Closed(_)) => tracing::debug!("the link is closed"),
        }
    }

    /// Begins to compute the answer to a challenge, unless one is on its way.
    fn prepare(&mut self) {
        if self.preparing.is_none() {
            let LinkConfig { head, verifier, weights, .. } = self.config.clone();
            self.preparing = Some(tokio::spawn(prepare(head, verifier, weights)));
        }
    }

    /// Asks for random ranges of the weights.
    async fn challenge(&mut self, prepared: Prepared) {
        self.preparing = None;
        if !matches!(self.state.mode(), Mode::Readback | Mode::Serving) {
            return;
        }
        let Challenge { key, ranges, digest, wait_ms } = match prepared {
            Ok(challenge) => challenge,
            Err(reason) => return self.event(Event::Kill(reason)).await,
        };
        self.challenges = self.challenges.saturating_add(1);
        let challenge = self.challenges;
        self.next_challenge_ms = self.now_ms().saturating_add(wait_ms);
        self.send(&ToServer::Readback { challenge, key, ranges }).await;
        self.event(Event::Challenged { challenge, digest }).await;
    }
}

/// A challenge and its right answer.
#[derive(Debug)]
struct Challenge {
    key: [u8; 32],
    ranges: Vec<ByteRange>,
    digest: [u8; 32],
    /// How long to wait before the next one.
    wait_ms: u64,
}

/// A challenge, or why there can be none.
type Prepared = Result<Challenge, KillReason>;

/// When the challenge is there; never, if none is on its way.
async fn ready(preparing: &mut Option<JoinHandle<Prepared>>) -> Prepared {
    match preparing {
        Some(task) => task.await.unwrap_or(Err(KillReason::Operator)),
        None => std::future::pending().await,
    }
}

/// Draws a challenge, and computes its right answer from groups that are checked again.
async fn prepare(head: TreeHead, verifier: GroupVerifier, weights: PathBuf) -> Prepared {
    let drawn = draw(head.bytes).map_err(|error| {
        tracing::error!(%error, "no random numbers");
        KillReason::Operator
    });
    let (key, ranges, wait_ms) = drawn?;
    let Some(digest) = digest(&head, &verifier, &weights, &key, &ranges).await else {
        tracing::error!("the weights are gone or were changed");
        return Err(KillReason::Weights);
    };
    Ok(Challenge { key, ranges, digest, wait_ms })
}

/// A key, ranges of so many bytes of weights, and how long to wait before the next challenge: between half and one and a
/// half times the mean.
fn draw(bytes: u64) -> Result<([u8; 32], Vec<ByteRange>, u64), getrandom::Error> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    let length = u32::try_from(bytes).unwrap_or(u32::MAX).min(CHALLENGE_BYTES);
    let last = bytes.saturating_sub(u64::from(length));
    let mut ranges = Vec::with_capacity(CHALLENGE_RANGES);
    for _ in 0..CHALLENGE_RANGES {
        // The bias is below 2^-24 for a terabyte.
        ranges.push(ByteRange { offset: getrandom::u64()? % last.saturating_add(1), length });
    }
    Ok((key, ranges, CHALLENGE_EVERY_MS / 2 + getrandom::u64()? % CHALLENGE_EVERY_MS))
}

/// The right answer, or `None` if the file is not what the whitelist says any more.
async fn digest(
    head: &TreeHead,
    verifier: &GroupVerifier,
    weights: &Path,
    key: &[u8; 32],
    ranges: &[ByteRange],
) -> Option<[u8; 32]> {
    let mut file = File::open(weights).await.ok()?;
    let mut hasher = ReadbackHasher::new(key);
    for range in ranges {
        hasher.add(*range, &read_range(&mut file, head, verifier, *range).await?);
    }
    Some(hasher.finish())
}

/// Writes one group of weights; gives what ended the upload instead, if something did.
async fn write_group(
    writer: &mut OwnedWriteHalf,
    group: &[u8],
    messages: &mut mpsc::Receiver<Inbound>,
    commands: &mut mpsc::Receiver<Command>,
) -> Option<Event> {
    let mut written = pin!(tokio::time::timeout(GROUP_WITHIN, writer.write_all(group)));
    loop {
        tokio::select! {
            // The write first: it ends before the server can have read its end, so an answer to the whole of the
            // last group never counts as one that came too early.
            biased;
            written = &mut written => return match written {
                Ok(Ok(())) => None,
                Ok(Err(_)) => Some(Event::Gone),
                // It stopped reading.
                Err(_) => Some(Event::Kill(KillReason::LoadLate)),
            },
            message = messages.recv() => return Some(event_of(message)),
            command = commands.recv() => match command {
                Some(Command::Ask { reply, .. }) => drop(reply.send(Reply::Refused)),
                Some(Command::ReaderLeft(_)) => {}
                Some(Command::Kill(reason)) => return Some(Event::Kill(reason)),
                Some(Command::Drain) | None => return Some(Event::Drain),
            },
        }
    }
}

async fn read_range(
    file: &mut File,
    head: &TreeHead,
    verifier: &GroupVerifier,
    range: ByteRange,
) -> Option<Vec<u8>> {
    let group_bytes = u64::from(head.group_bytes);
    let end = range.offset.checked_add(u64::from(range.length))?;
    let (first, mut bytes) = (range.offset / group_bytes, Vec::new());
    for group in first..end.div_ceil(group_bytes) {
        let start = group * group_bytes;
        let mut part = vec![0; usize::try_from(group_bytes.min(head.bytes.checked_sub(start)?)).ok()?];
        file.seek(std::io::SeekFrom::Start(start)).await.ok()?;
        file.read_exact(&mut part).await.ok()?;
        verifier.recheck(group, &part).ok()?;
        bytes.extend(part);
    }
    let start = usize::try_from(range.offset - first * group_bytes).ok()?;
    bytes.get(start..start + usize::try_from(range.length).ok()?).map(<[u8]>::to_vec)
}

fn event_of(message: Option<Inbound>) -> Event {
    match message {
        Some(Inbound::Message(message)) => Event::Server(message),
        Some(Inbound::Unreadable) => Event::Unreadable,
        Some(Inbound::Gone) | None => Event::Gone,
    }
}
