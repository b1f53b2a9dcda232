//! A whole gateway that is killed under load, again and again: whatever receipt a client holds is in the log, and no
//! answer is judged twice. The gateway, its server included, is a child process; clients and recomputer are here.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::history::History;
use gateway::panel::PanelPolicy;
use gateway::record::Record;
use gateway::sampling_audit::audit_log;
use gateway::store::{Sequence, Store, StoreKey};
use protocol::lease::{FromGateway, Outcome, ToGateway};
use protocol::link::frame;
use protocol::{Receipt, SigningKey};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Client, text};
use crate::fake::{Gateway, STORE, STORE_KEY, Setup, soon};

/// Tells the test binary that it is the child of [`a_killed_gateway_loses_no_receipt`].
const CHILD_FOLDER: &str = "MAXWELL_TEST_GATEWAY_CHILD";
/// What the child prints before its address, to tell it from what the test harness prints.
pub(crate) const ADDRESS: &str = "address ";
const KILLS: u64 = 200;
/// The log is read from outside after so many. The gateway itself verifies all of it at each start.
const CHECK_EACH: u64 = 5;
const CLIENTS: usize = 4;
/// How many of them the recomputer may keep waiting.
const JOBS_MAX: usize = 100_000;
/// The child ends by itself then, if the parent died.
pub(crate) const CHILD_LIFE: Duration = Duration::from_secs(60);

/// Does nothing by itself; as the child it serves until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_of_the_kill_test() {
    let Some(folder) = env::var_os(CHILD_FOLDER) else { return };
    let setup =
        Setup { recomputers: PanelPolicy::single(600_000, JOBS_MAX), epoch_answers: 16, ..Setup::default() };
    let gateway = Gateway::at(Path::new(&folder), setup).await.booted().await;
    println!("\n{ADDRESS}{}", gateway.address);
    let _ = tokio::time::timeout(CHILD_LIFE, gateway.server.answer_all("to be killed")).await;
}

/// What the world outside knows, over all lives of the gateway.
#[derive(Default)]
struct Known {
    /// Receipts that were fetched, by tag.
    receipts: BTreeMap<u64, Vec<u8>>,
    /// Outcomes that the gateway has confirmed.
    judged: BTreeSet<u64>,
}

type Shared = Arc<Mutex<Known>>;

/// Asks and fetches receipts until nobody answers any more.
async fn ask_on(address: SocketAddr, known: Shared, count: watch::Sender<u64>, stream: bool) -> Option<()> {
    let mut client = Client::maybe(address).await?;
    loop {
        client.send(&text("Hi", json!({ "stream": stream }))).await;
        let response = client.maybe_response().await?;
        if response.status != 200 || !response.whole {
            continue;
        }
        let tag = response.tag();
        let receipt = fetch_receipt(&mut client, tag).await?;
        known.lock().unwrap().receipts.insert(tag, receipt);
        count.send_modify(|count| *count += 1);
    }
}

/// A receipt once its answer is durable; `None` if nobody answers any more.
pub(crate) async fn fetch_receipt(client: &mut Client, tag: u64) -> Option<Vec<u8>> {
    let request = format!("GET /v1/receipts/{tag:016x} HTTP/1.1\r\nHost: gateway\r\n\r\n");
    loop {
        client.send(request.as_bytes()).await;
        let receipt = client.maybe_response().await?;
        if receipt.status == 200 && !receipt.body.is_empty() {
            return Some(receipt.body);
        }
        assert!(receipt.status == 202 || receipt.body.is_empty(), "{receipt:?}");
    }
}

/// Kills the gateway once its clients hold so many receipts, a few turns of the scheduler later, and waits until its
/// clients have noticed.
pub(crate) async fn kill(
    (mut child, lines): (Child, Lines<BufReader<ChildStdout>>),
    mut counted: watch::Receiver<u64>,
    (receipts, yields): (u64, u64),
    mut load: JoinSet<Option<()>>,
) {
    let enough = counted.wait_for(|count| *count >= receipts);
    drop(soon("receipts", enough).await.expect("the gateway serves"));
    for _ in 0..yields {
        tokio::task::yield_now().await;
    }
    child.kill().await.unwrap();
    drop(lines);
    while let Some(ended) = soon("the end of the load", load.join_next()).await {
        ended.unwrap();
    }
}

/// Judges all that there is until nobody answers any more.
async fn judge_on(lease: PathBuf, known: Shared) -> Option<()> {
    let mut stream = UnixStream::connect(lease).await.ok()?;
    loop {
        let job = exchange(&mut stream, &ToGateway::Lease).await?;
        let FromGateway::Job { tag, .. } = job else {
            tokio::task::yield_now().await;
            continue;
        };
        let done = ToGateway::Done { tag, outcome: Outcome::Pass };
        if exchange(&mut stream, &done).await? == (FromGateway::Recorded { tag }) {
            assert!(known.lock().unwrap().judged.insert(tag), "{tag:x} was judged before");
        }
    }
}

async fn exchange(stream: &mut UnixStream, message: &ToGateway) -> Option<FromGateway> {
    stream.write_all(&frame(&message.encode())).await.ok()?;
    let length = stream.read_u32().await.ok()?;
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(FromGateway::decode(&bytes).unwrap())
}

/// A gateway that is up: this test of the same binary, with these variables.
pub(crate) async fn start(
    test: &str,
    variables: &[(&str, &OsStr)],
) -> (Child, SocketAddr, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the gateway ended by itself");
            if let Some(address) = line.strip_prefix(ADDRESS) {
                return address.parse().unwrap();
            }
        }
    };
    let address = soon("the gateway's address", address).await;
    (child, address, lines)
}

/// Everything that anybody was told is in the log, which is whole; nothing is there twice, and an outsider has nothing
/// to complain about.
fn check(folder: &Path, known: &Known, life: u64) -> usize {
    let (store, _) = Store::open(&folder.join("log"), &StoreKey::from_bytes(STORE_KEY), STORE)
        .unwrap_or_else(|error| unreachable!("after life {life}: {error}"));
    let (mut answers, mut judged) = (BTreeMap::new(), BTreeSet::new());
    let mut history = History::new();
    for stored in store.iter_from(store.oldest()) {
        let stored = stored.unwrap();
        let record = Record::decode(stored.kind, &stored.content).unwrap();
        history.add(stored.sequence.as_u64(), &record);
        match record {
            Record::Answered(answered) => {
                let place = (stored.sequence.as_u64(), *stored.chain.as_bytes(), answered.response);
                assert_eq!(answers.insert(answered.tag, place), None, "life {life}: one tag, two answers");
            }
            Record::Judged { tag, .. } => {
                assert!(judged.insert(tag), "life {life}: {tag:x} is judged twice");
                assert!(answers.contains_key(&tag), "life {life}: {tag:x} was judged before its answer");
            }
            Record::Started(_)
            | Record::Killed { .. }
            | Record::Revealed { .. }
            | Record::Checkpoint { .. }
            | Record::Beacon { .. }
            | Record::PassBegan { .. }
            | Record::Passed(_)
            | Record::Dropped(_) => {}
        }
    }
    let key = SigningKey::from_seed([5; 32]).verifying_key();
    for (tag, bytes) in &known.receipts {
        let receipt = Receipt::verify(bytes, &key).unwrap();
        assert_eq!(receipt.tag.counter, *tag);
        let told = (receipt.sequence, *receipt.chain.as_bytes(), *receipt.response.as_bytes());
        assert_eq!(answers.get(tag), Some(&told), "life {life}: the receipt of {tag:x} is not of the log");
    }
    assert!(known.judged.is_subset(&judged), "life {life}: an outcome is lost");
    let report = audit_log(&history, &key, store.oldest() == Sequence::FIRST);
    // The last epoch was cut off: the next start ends it.
    let findings: Vec<_> =
        report.all_findings().filter(|(epoch, _)| *epoch != last_epoch(&history)).collect();
    assert!(findings.is_empty(), "life {life}: {findings:?}");
    // Only what was being answered when it was killed has no record.
    let in_flight = u64::try_from(CLIENTS).unwrap() * (life + 1);
    assert!(report.unaccounted <= in_flight, "life {life}: {} tags have no record", report.unaccounted);
    answers.len()
}

fn last_epoch(history: &History) -> Option<u64> {
    history.epochs.last().map(|epoch| epoch.epoch)
}

pub(crate) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_loses_no_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let known = Shared::default();
    let mut random = 1;
    let mut answers = 0;
    for life in 0..KILLS {
        let when = (splitmix(&mut random) % 12, splitmix(&mut random) % 64);
        let variables = [(CHILD_FOLDER, folder.path().as_os_str())];
        let (child, address, lines) = start("crash::child_of_the_kill_test", &variables).await;
        let (count, counted) = watch::channel(0);
        let mut load = JoinSet::new();
        for number in 0..CLIENTS {
            load.spawn(ask_on(address, Arc::clone(&known), count.clone(), number % 2 == 0));
        }
        load.spawn(judge_on(folder.path().join("lease"), Arc::clone(&known)));
        kill((child, lines), counted, when, load).await;
        if life % CHECK_EACH == CHECK_EACH - 1 || life + 1 == KILLS {
            answers = check(folder.path(), &known.lock().unwrap(), life);
        }
    }
    let known = known.lock().unwrap();
    let (receipts, judged) = (known.receipts.len(), known.judged.len());
    println!(
        "{KILLS} kills: {answers} answers in the log, {receipts} receipts and {judged} verdicts held outside"
    );
    assert!(receipts > 0 && judged > 0);
}
