//! What stands around a gateway, all of it fake and on this machine: an inference server that says whatever a test
//! wants, its process, weights, a whitelist, a tokenizer of single bytes, and a client that sends raw bytes. Nothing
//! here may wait for time to pass, but to give up.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use gateway::access::{Access, AccessRules, Timeouts};
use gateway::api_keys::{ApiKey, ApiKeys, KeyDigest};
use gateway::body::ALL_BODIES_BYTES;
use gateway::entropy::EntropyError;
use gateway::governor::GovernorPolicy;
use gateway::http::router;
use gateway::lease_server;
use gateway::limits::Rates;
use gateway::listen::{self, Stage};
use gateway::log::Log;
use gateway::panel::PanelPolicy;
use gateway::record::Record;
use gateway::sampling::{AuditPolicy, PPB};
use gateway::server_link::{self, Command, LinkConfig};
use gateway::service::{DrawKey, EpochSettings, Service, ServiceConfig};
use gateway::state::{KillReason, Limits, Mode};
use gateway::store::{Store, StoreKey, StoreOptions};
use gateway::tokenizer_file::open_tokenizer;
use gateway::unverifiable::BudgetPolicy;
use protocol::encoding::Encoder;
use protocol::fingerprint::LogitFingerprint;
use protocol::group_tree::{GroupTree, GroupVerifier, TreeHead};
use protocol::id::TemplateDigest;
use protocol::keys::SigningKey;
use protocol::link::{ByteRange, FromServer, ToServer, frame, readback_digest};
use protocol::whitelist::{AuthorizedEntry, Whitelist, WhitelistEntry, authorize};
use protocol::{ClientSeed, FinishReason, ModelCommitment, Nonce, SamplingSettings};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::breakable_disk::BreakableDisk;

/// Longer than anything here takes; a wait that lasts so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Tokens 0 to 255 are the bytes, and behind them come these.
pub(crate) const END: u32 = 256;
pub(crate) const TURN: u32 = 257;
pub(crate) const AB: u32 = 258;
pub(crate) const VOCABULARY: u32 = 259;
/// Prompt and answer together.
pub(crate) const CONTEXT: u32 = 256;
/// What clients call the model.
pub(crate) const MODEL: &str = "tiny";
const TEMPLATE: &str = "{% for message in messages %}<|turn|>{{ message.role }}\n{{ message.content }}<|end|>\
    {% endfor %}{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}";

/// What comes of a future that is soon there.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => unreachable!("{what} did not come"),
    }
}

/// Weights of any size that repeat nowhere soon.
pub(crate) fn weights(bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(b"weights of tests").finalize_xof().fill(&mut out);
    out
}

/// GPT-2's symbol of a byte.
fn symbol(byte: u8) -> String {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = if printable(byte) {
        u32::from(byte)
    } else {
        0x100 + u32::try_from((0..byte).filter(|byte| !printable(*byte)).count()).unwrap()
    };
    char::from_u32(code).unwrap().to_string()
}

/// A tokenizer bundle: single bytes, one merge, two control tokens and a template.
fn bundle() -> Vec<u8> {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| symbol(byte).into_bytes()).collect();
    tokens.extend([&b"<|end|>"[..], b"<|turn|>", b"ab"].map(<[u8]>::to_vec));
    let mut out = Encoder::new();
    out.structure("maxwell.tokenizer", 1, 14);
    out.unsigned(0);
    out.text("gpt-2");
    out.array_header(tokens.len());
    tokens.iter().for_each(|token| out.bytes(token));
    out.array_header(tokens.len());
    (0..VOCABULARY).for_each(|id| out.unsigned(if id == END || id == TURN { 3 } else { 1 }));
    out.list_u32(&[]);
    out.array_header(1);
    out.bytes(b"a b");
    out.null();
    out.unsigned(u64::from(END));
    out.null();
    out.null();
    out.list_u32(&[]);
    (0..3).for_each(|_| out.boolean(false));
    out.bytes(TEMPLATE.as_bytes());
    out.into_bytes()
}

/// The tokens of a conversation of one turn, worked out by hand.
pub(crate) fn chat_ids(role: &str, content: &str) -> Vec<u32> {
    let mut ids = vec![TURN];
    ids.extend(format!("{role}\n{content}").bytes().map(u32::from));
    ids.extend([END, TURN]);
    ids.extend(b"assistant\n".map(u32::from));
    ids
}

/// The tokens of a text without "ab".
pub(crate) fn ids(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

/// The model in a list that two parties signed.
pub(crate) fn entry(head: TreeHead) -> AuthorizedEntry {
    let entry = WhitelistEntry {
        name: MODEL.to_owned(),
        model: ModelCommitment::from_bytes([1; 32]),
        numerics: "maxwell-ie5-1".to_owned(),
        template: Some(TemplateDigest::from_bytes([2; 32])),
        weights: head,
        tokenizer_digest: *blake3::hash(&bundle()).as_bytes(),
        vocabulary: VOCABULARY,
        context: CONTEXT,
        version: 1,
    };
    let list = Whitelist { version: 1, entries: vec![entry], expires_unix_s: None, revoked: Vec::new() };
    let keys = [1, 2].map(|seed| SigningKey::from_seed([seed; 32]));
    let signed = list.sign(&[&keys[0], &keys[1]]).unwrap();
    let list = authorize(&signed, &keys.each_ref().map(SigningKey::verifying_key), 0, 0).unwrap();
    list.by_name(MODEL, 0).unwrap()
}

/// Limits that no test reaches.
pub(crate) fn limits(weights_bytes: usize) -> Limits {
    Limits {
        weights_bytes: u64::try_from(weights_bytes).unwrap(),
        vocabulary: VOCABULARY,
        context: CONTEXT,
        load_ms: 600_000,
        readback_ms: 600_000,
        silence_ms: 600_000,
    }
}

/// A link that runs, seen from the gateway.
pub(crate) struct Link {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) mode: watch::Receiver<Mode>,
    task: JoinHandle<Mode>,
    process: Option<u32>,
    _folder: TempDir,
}

impl Link {
    /// Starts a link for `right` weights on a file with `stored` ones.
    pub(crate) fn start(right: &[u8], stored: &[u8], limits: Limits) -> (Self, FakeServer) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, stored).unwrap();
        let GroupTree { head, outboard } = GroupTree::of(right);
        let verifier = GroupVerifier::new(head, outboard).unwrap();
        let config = LinkConfig { limits, end_tokens: BTreeSet::from([END]), head, verifier, weights: path };
        let mut process = tokio::process::Command::new("sleep");
        let process = process.arg("600").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let process = process.spawn().unwrap();
        let id = process.id().unwrap();
        Self::on(config, Some((process, id)), folder)
    }

    /// The same with a server that somebody else has started.
    pub(crate) fn without_process(weights: &[u8], limits: Limits) -> (Self, FakeServer) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, weights).unwrap();
        let GroupTree { head, outboard } = GroupTree::of(weights);
        let verifier = GroupVerifier::new(head, outboard).unwrap();
        let config = LinkConfig { limits, end_tokens: BTreeSet::from([END]), head, verifier, weights: path };
        Self::on(config, None, folder)
    }

    fn on(config: LinkConfig, process: Option<(Child, u32)>, folder: TempDir) -> (Self, FakeServer) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (process, id) = process.unzip();
        let (commands, received) = mpsc::channel(256);
        let (mode_sender, mode) = watch::channel(Mode::Off);
        let task = tokio::spawn(server_link::run(config, ours, process, received, mode_sender));
        let link = Self { commands, mode, task, process: id, _folder: folder };
        (link, FakeServer { stream: theirs, weights: Vec::new() })
    }

    /// Waits until the link is in a mode.
    pub(crate) async fn reaches(&mut self, mode: Mode) {
        soon(mode.name(), self.mode.wait_for(|now| *now == mode)).await.unwrap();
    }

    /// How it ends. The process has ended by then.
    pub(crate) async fn end(self) -> Mode {
        let end = soon("the link's end", self.task).await.unwrap();
        // The link has waited for the process, so nothing is left of it, not even a zombie.
        let lives = self.process.is_some_and(|id| Path::new(&format!("/proc/{id}")).exists());
        assert!(!lives, "the process lives");
        assert_eq!(*self.mode.borrow(), end);
        end
    }

    /// It ends by a kill, for this reason.
    pub(crate) async fn ends_killed(self, reason: KillReason) {
        assert_eq!(self.end().await, Mode::Killed(reason));
    }
}

/// A request as a server gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generate {
    pub(crate) tag: u64,
    pub(crate) prompt_ids: Vec<u32>,
    pub(crate) settings: SamplingSettings,
    pub(crate) nonce: Nonce,
    pub(crate) client_seed: ClientSeed,
    pub(crate) logprobs: Option<u8>,
}

/// The server's end of the link.
pub(crate) struct FakeServer {
    stream: UnixStream,
    /// What was uploaded so far.
    pub(crate) weights: Vec<u8>,
}

pub(crate) fn fingerprint() -> LogitFingerprint {
    LogitFingerprint::new(1, 2).unwrap()
}

impl FakeServer {
    /// In the place of one that somebody took away.
    pub(crate) fn nowhere() -> Self {
        Self { stream: UnixStream::pair().unwrap().0, weights: Vec::new() }
    }

    /// The next message, whatever it is; `None` after the last one.
    pub(crate) async fn read(&mut self) -> Option<ToServer> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await.ok()?;
        let mut bytes = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut bytes).await.ok()?;
        Some(ToServer::decode(&bytes).unwrap())
    }

    /// The next message; challenges on the way are answered as they should be.
    pub(crate) async fn next(&mut self) -> Option<ToServer> {
        let next = async {
            loop {
                match self.read().await {
                    Some(ToServer::Readback { challenge, key, ranges }) => {
                        self.prove(challenge, &key, &ranges).await;
                    }
                    other => return other,
                }
            }
        };
        soon("a message to the server", next).await
    }

    /// Everything that still comes, until the link is closed.
    pub(crate) async fn rest(&mut self) -> Vec<ToServer> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            messages.push(message);
        }
        messages
    }

    /// Answers a challenge.
    pub(crate) async fn prove(&mut self, challenge: u64, key: &[u8; 32], ranges: &[ByteRange]) {
        let digest = readback_digest(&self.weights, key, ranges).unwrap();
        self.say(FromServer::Readback { challenge, digest }).await;
    }

    /// The first challenge, or the next one.
    pub(crate) async fn challenge(&mut self) -> (u64, [u8; 32], Vec<ByteRange>) {
        let message = self.read().await;
        let Some(ToServer::Readback { challenge, key, ranges }) = message else {
            unreachable!("{message:?} is no challenge")
        };
        (challenge, key, ranges)
    }

    /// Takes the size of the weights, and gives it.
    pub(crate) async fn announced(&mut self) -> u64 {
        let message = self.next().await;
        let Some(ToServer::Weights { bytes }) = message else { unreachable!("{message:?}") };
        bytes
    }

    /// Takes one group.
    pub(crate) async fn group(&mut self) {
        let message = self.next().await;
        let Some(ToServer::Group { bytes }) = message else { unreachable!("no group") };
        self.weights.extend(bytes);
    }

    /// Takes all weights.
    pub(crate) async fn upload(&mut self) {
        let bytes = usize::try_from(self.announced().await).unwrap();
        while self.weights.len() < bytes {
            self.group().await;
        }
        assert_eq!(self.weights.len(), bytes);
    }

    /// Up to the first request.
    pub(crate) async fn boot(&mut self) {
        self.upload().await;
        self.say(FromServer::Ready).await;
        let (challenge, key, ranges) = soon("a challenge", self.challenge()).await;
        self.prove(challenge, &key, &ranges).await;
    }

    /// Says something.
    pub(crate) async fn say(&mut self, message: FromServer) {
        self.write(&frame(&message.encode())).await;
    }

    /// Sends bytes. A link that is closed already does not take them.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next request.
    pub(crate) async fn generate(&mut self) -> Generate {
        let message = self.next().await;
        let Some(ToServer::Generate { tag, prompt_ids, settings, nonce, client_seed, logprobs }) = message
        else {
            unreachable!("{message:?} is no request")
        };
        Generate { tag, prompt_ids, settings, nonce, client_seed, logprobs }
    }

    /// The cancellation of a request.
    pub(crate) async fn cancelled(&mut self) -> u64 {
        let message = self.next().await;
        let Some(ToServer::Cancel { tag }) = message else { unreachable!("{message:?} cancels nothing") };
        tag
    }

    /// Some tokens of an answer.
    pub(crate) async fn tokens(&mut self, tag: u64, ids: &[u32]) {
        for &id in ids {
            self.say(FromServer::Token { tag, id, fingerprint: fingerprint(), logprobs: None }).await;
        }
    }

    /// The end of an answer.
    pub(crate) async fn finish(&mut self, tag: u64, finish: FinishReason) {
        self.say(FromServer::Finished { tag, finish }).await;
    }

    /// A whole answer: the bytes of a text, and the end token.
    pub(crate) async fn answer(&mut self, tag: u64, text: &str) {
        self.tokens(tag, &ids(text)).await;
        self.tokens(tag, &[END]).await;
        self.finish(tag, FinishReason::EndToken).await;
    }

    /// Answers every request with the text until the link is closed, and gives the requests.
    pub(crate) async fn answer_all(mut self, text: &str) -> Vec<Generate> {
        let mut requests = Vec::new();
        while let Some(message) = self.read().await {
            match message {
                ToServer::Generate { tag, prompt_ids, settings, nonce, client_seed, logprobs } => {
                    self.answer(tag, text).await;
                    requests.push(Generate { tag, prompt_ids, settings, nonce, client_seed, logprobs });
                }
                ToServer::Readback { challenge, key, ranges } => {
                    self.prove(challenge, &key, &ranges).await;
                }
                ToServer::Weights { .. } | ToServer::Group { .. } | ToServer::Cancel { .. } => {}
            }
        }
        requests
    }
}

/// A timeout that no test reaches.
pub(crate) const FOREVER: Duration = Duration::from_secs(600);

/// The records of keys, in the form that a gateway takes.
pub(crate) fn api_keys(keys: &[(&str, Rates)]) -> ApiKeys {
    let mut out = ApiKeys::default();
    for (name, rates) in keys {
        let digest = KeyDigest::of(&format!("{name}{name}"));
        out.add(ApiKey { name: (*name).to_owned(), digest, rates: *rates, revoked: false }).unwrap();
    }
    out
}

/// Who draws beacons.
pub(crate) fn beacon_party() -> SigningKey {
    SigningKey::from_seed([4; 32])
}

/// The audit key of the n-th epoch.
pub(crate) fn audit_key(epoch: u8) -> [u8; 32] {
    [7 + epoch; 32]
}

fn draw_keys(fail_after: u8) -> DrawKey {
    let mut drawn = 0;
    Box::new(move || {
        if drawn == fail_after {
            return Err(EntropyError::Stuck { what: "draws", count: 2 });
        }
        drawn += 1;
        Ok(audit_key(drawn - 1))
    })
}

/// How a gateway is set up.
pub(crate) struct Setup {
    pub(crate) rate_ppb: u64,
    pub(crate) epoch_answers: usize,
    /// The source of audit keys is found to be stuck after so many.
    pub(crate) keys_fail_after: u8,
    pub(crate) in_flight_max: usize,
    pub(crate) recomputers: PanelPolicy,
    pub(crate) egress: GovernorPolicy,
    pub(crate) unverifiable: BudgetPolicy,
    /// Names of keys and what they may; a key is its name twice. None: everybody may.
    pub(crate) keys: Vec<(&'static str, Rates)>,
    pub(crate) timeouts: Timeouts,
    pub(crate) connections_max: usize,
    /// For all bodies together.
    pub(crate) body_room_bytes: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rate_ppb: PPB,
            epoch_answers: 4096,
            keys_fail_after: u8::MAX,
            in_flight_max: 8,
            recomputers: PanelPolicy::single(600_000, 64),
            egress: GovernorPolicy::default(),
            unverifiable: BudgetPolicy::default(),
            keys: Vec::new(),
            timeouts: Timeouts { head: FOREVER, body_idle: FOREVER, body_total: FOREVER },
            connections_max: 1000,
            body_room_bytes: ALL_BODIES_BYTES,
        }
    }
}

/// A whole gateway on a free port, with its server.
pub(crate) struct Gateway {
    pub(crate) service: Arc<Service>,
    pub(crate) access: Arc<Access>,
    pub(crate) stage: watch::Sender<Stage>,
    pub(crate) listening: JoinHandle<()>,
    pub(crate) address: SocketAddr,
    pub(crate) lease_path: PathBuf,
    /// Of the other recomputers.
    pub(crate) other_lease_paths: Vec<PathBuf>,
    pub(crate) server: FakeServer,
    pub(crate) link: Link,
    /// Makes all writes of the log fail.
    pub(crate) disk_is_broken: Arc<AtomicBool>,
    /// Lets half a write through, and then none.
    pub(crate) disk_is_full: Arc<AtomicBool>,
    folder: PathBuf,
    _temporary: Option<TempDir>,
}

pub(crate) const STORE: StoreOptions =
    StoreOptions { segment_bytes: 1 << 20, segments_max: 16, pending_bytes_max: 1 << 20 };
pub(crate) const STORE_KEY: [u8; 32] = [8; 32];
/// Below one group, so that a gateway starts fast.
const SMALL: usize = 5000;

impl Gateway {
    /// Starts one; its server has nothing yet.
    pub(crate) async fn new(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let weights = weights(SMALL);
        let link = Link::start(&weights, &weights, limits(SMALL));
        let gateway = Self::on(folder.path(), setup, link).await;
        Self { _temporary: Some(folder), ..gateway }
    }

    /// Starts one on a folder that outlives it. It leaves no process behind if it is killed itself.
    pub(crate) async fn at(folder: &Path, setup: Setup) -> Self {
        Self::on(folder, setup, Link::without_process(&weights(SMALL), limits(SMALL))).await
    }

    async fn on(folder: &Path, setup: Setup, (link, server): (Link, FakeServer)) -> Self {
        let weights = weights(SMALL);
        let entry = entry(GroupTree::of(&weights).head);
        let config = ServiceConfig {
            tokenizer: open_tokenizer(&bundle(), &entry).unwrap(),
            entry,
            key: SigningKey::from_seed([5; 32]),
            seed_key: [6; 32],
            draw_audit_key: draw_keys(setup.keys_fail_after),
            policy: AuditPolicy { rate_ppb: setup.rate_ppb, floor_ppb: setup.rate_ppb },
            epochs: EpochSettings {
                answers_max: setup.epoch_answers,
                beacon_party: Some(beacon_party().verifying_key()),
            },
            in_flight_max: setup.in_flight_max,
            recomputers: setup.recomputers.clone(),
            egress: setup.egress,
            unverifiable: setup.unverifiable,
        };
        let store = folder.join("log");
        let (commands, mode) = (link.commands.clone(), link.mode.clone());
        let disk_is_broken = Arc::new(AtomicBool::new(false));
        let disk_is_full = Arc::new(AtomicBool::new(false));
        let (broken, full) = (Arc::clone(&disk_is_broken), Arc::clone(&disk_is_full));
        let service = tokio::task::spawn_blocking(move || {
            let disk = Box::new(BreakableDisk::open(&store, broken, full).unwrap());
            let (store, _) = Store::open_on(disk, &StoreKey::from_bytes(STORE_KEY), STORE).unwrap();
            Service::start(config, Log::new(store).unwrap(), commands, mode).unwrap()
        });
        let service = service.await.unwrap();
        let lease_path = folder.join("lease");
        // An earlier one that was killed has left its socket.
        let _ = std::fs::remove_file(&lease_path);
        let leases = UnixListener::bind(&lease_path).unwrap();
        tokio::spawn(lease_server::serve(leases, Arc::clone(&service), 0));
        let mut other_lease_paths = Vec::new();
        for seat in 1..setup.recomputers.names.len() {
            let path = folder.join(format!("lease-{seat}"));
            let _ = std::fs::remove_file(&path);
            tokio::spawn(lease_server::serve(UnixListener::bind(&path).unwrap(), Arc::clone(&service), seat));
            other_lease_paths.push(path);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let keys = (!setup.keys.is_empty()).then(|| api_keys(&setup.keys));
        let rules = AccessRules { keys, rates: Rates::default(), timeouts: setup.timeouts };
        let access = Access::with_room(rules, setup.body_room_bytes);
        let routes = router(Arc::clone(&service), Arc::clone(&access));
        let (stage, stages) = watch::channel(Stage::Open);
        let (with, under) = (Arc::clone(&service), Arc::clone(&access));
        let listening =
            tokio::spawn(listen::serve(listener, routes, with, under, setup.connections_max, stages));
        let folder = folder.to_owned();
        Self {
            service,
            access,
            address,
            lease_path,
            other_lease_paths,
            server,
            link,
            stage,
            listening,
            disk_is_broken,
            disk_is_full,
            folder,
            _temporary: None,
        }
    }

    /// Starts one, and brings its server up.
    pub(crate) async fn serving(setup: Setup) -> Self {
        Self::new(setup).await.booted().await
    }

    /// Brings its server up.
    pub(crate) async fn booted(mut self) -> Self {
        self.server.boot().await;
        self.link.reaches(Mode::Serving).await;
        self
    }

    /// A folder as a kill would leave it now.
    pub(crate) fn copied(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("log")).unwrap();
        for file in std::fs::read_dir(self.folder.join("log")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join("log").join(file.file_name())).unwrap();
        }
        copy
    }

    /// What the log holds by now. Reads a copy, since the gateway keeps the log to itself.
    pub(crate) fn records(&self) -> Vec<Record> {
        let copy = self.copied();
        let (store, _) =
            Store::open(&copy.path().join("log"), &StoreKey::from_bytes(STORE_KEY), STORE).unwrap();
        let stored = store.iter_from(store.oldest()).map(Result::unwrap);
        stored.map(|stored| Record::decode(stored.kind, &stored.content).unwrap()).collect()
    }
}
