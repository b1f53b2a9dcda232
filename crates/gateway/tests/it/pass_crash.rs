//! A pass-through gateway that is killed under load, again and again: whatever receipt a client holds is in the log, and no
//! answer has two verdicts. The gateway is a child process; clients and upstream are here.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::access::{Access, AccessRules};
use gateway::history::History;
use gateway::listen::{self, Stage};
use gateway::log::Log;
use gateway::pass_through::{PassThrough, PassThroughConfig, router};
use gateway::record::Record;
use gateway::sampling::{AuditPolicy, PPB};
use gateway::sampling_audit::audit_log;
use gateway::store::{Sequence, Store, StoreKey};
use protocol::{Receipt, SigningKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::crash::{ADDRESS, CHILD_LIFE, fetch_receipt, kill, splitmix, start};
use crate::fake::{STORE, STORE_KEY};

/// Tell the test binary that it is the child of [`a_killed_pass_through_loses_no_receipt`].
const CHILD_FOLDER: &str = "MAXWELL_TEST_PASS_CHILD";
const CHILD_UPSTREAM: &str = "MAXWELL_TEST_PASS_UPSTREAM";
const KILLS: u64 = 60;
const CHECK_EACH: u64 = 5;
const CLIENTS: usize = 4;
const KEY: [u8; 32] = [1; 32];
const REQUEST: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
    a\r\ndata: {}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

/// Does nothing by itself; as the child it passes requests on until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_of_the_kill_test() {
    let (Some(folder), Ok(upstream)) = (env::var_os(CHILD_FOLDER), env::var(CHILD_UPSTREAM)) else { return };
    let config = PassThroughConfig {
        upstream: upstream.parse().unwrap(),
        key: SigningKey::from_seed(KEY),
        seed_key: [2; 32],
        audit_key: [3; 32],
        policy: AuditPolicy { rate_ppb: PPB / 2, floor_ppb: PPB / 2 },
        in_flight_max: 64,
        head_within: Duration::from_secs(60),
        idle_within: Duration::from_secs(60),
    };
    let store = Store::open(Path::new(&folder), &StoreKey::from_bytes(STORE_KEY), STORE).unwrap().0;
    let access = Access::new(AccessRules::default());
    let under = Arc::clone(&access);
    let begin = move || PassThrough::start(config, Log::new(store).unwrap(), under).unwrap();
    let pass = tokio::task::spawn_blocking(begin).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\n{ADDRESS}{}", listener.local_addr().unwrap());
    let (_stage, stages) = watch::channel(Stage::Open);
    let serving = listen::serve(listener, router(Arc::clone(&pass)), pass, access, 64, stages);
    let _ = tokio::time::timeout(CHILD_LIFE, serving).await;
}

/// Answers every request with the same two events.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n{}") {
                    if !stream.read_buf(&mut request).await.is_ok_and(|count| count > 0) {
                        return;
                    }
                }
                // The gateway may be gone.
                let _ = stream.write_all(ANSWER).await;
            });
        }
    });
    address
}

/// Receipts that were fetched, by tag, over all lives.
type Known = Arc<Mutex<BTreeMap<u64, Vec<u8>>>>;

/// Asks and fetches receipts until nobody answers any more.
async fn ask_on(address: SocketAddr, known: Known, count: watch::Sender<u64>) -> Option<()> {
    let mut client = Client::maybe(address).await?;
    loop {
        client.send(REQUEST).await;
        let response = client.maybe_response().await?;
        if response.status != 200 || !response.whole {
            continue;
        }
        let tag = response.tag();
        let receipt = fetch_receipt(&mut client, tag).await?;
        known.lock().unwrap().insert(tag, receipt);
        count.send_modify(|count| *count += 1);
    }
}

/// Every receipt is in the log, which is whole; nothing is there twice, and an outsider has nothing to complain about.
fn check(folder: &Path, known: &BTreeMap<u64, Vec<u8>>, life: u64) -> (usize, usize) {
    let (store, _) = Store::open(folder, &StoreKey::from_bytes(STORE_KEY), STORE)
        .unwrap_or_else(|error| unreachable!("after life {life}: {error}"));
    let (mut answers, mut judged, mut history) = (BTreeMap::new(), BTreeSet::new(), History::new());
    for stored in store.iter_from(store.oldest()) {
        let stored = stored.unwrap();
        let record = Record::decode(stored.kind, &stored.content).unwrap();
        history.add(stored.sequence.as_u64(), &record);
        if let Record::Passed(passed) = record {
            let place = (stored.sequence.as_u64(), *stored.chain.as_bytes(), passed.response);
            assert_eq!(answers.insert(passed.tag, place), None, "life {life}: one tag, two answers");
        } else if let Record::Judged { tag, .. } = record {
            assert!(judged.insert(tag) && answers.contains_key(&tag), "life {life}: {tag:x}");
        } else {
            assert!(matches!(record, Record::PassBegan { .. }), "{record:?}");
        }
    }
    let key = SigningKey::from_seed(KEY).verifying_key();
    for (tag, bytes) in known {
        let receipt = Receipt::verify(bytes, &key).unwrap();
        assert_eq!(receipt.tag.counter, *tag);
        let told = (receipt.sequence, *receipt.chain.as_bytes(), *receipt.response.as_bytes());
        assert_eq!(answers.get(tag), Some(&told), "life {life}: the receipt of {tag:x} is not of the log");
    }
    let report = audit_log(&history, &key, store.oldest() == Sequence::FIRST);
    let findings: Vec<_> = report.all_findings().collect();
    assert!(findings.is_empty(), "life {life}: {findings:?}");
    // A kill between a picked answer and its verdict leaves it without one; between tag and record, a tag without either.
    let lives = u64::try_from(CLIENTS).unwrap() * (life + 1);
    assert!(report.waiting <= lives && report.unaccounted <= lives, "life {life}: {report:?}");
    (answers.len(), judged.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_pass_through_loses_no_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = upstream().await.to_string();
    let (known, mut random, mut held) = (Known::default(), 2, (0, 0));
    for life in 0..KILLS {
        let when = (splitmix(&mut random) % 12, splitmix(&mut random) % 64);
        let variables = [(CHILD_FOLDER, folder.path().as_os_str()), (CHILD_UPSTREAM, upstream.as_ref())];
        let (child, address, lines) = start("pass_crash::child_of_the_kill_test", &variables).await;
        let (count, counted) = watch::channel(0);
        let mut load = JoinSet::new();
        for _ in 0..CLIENTS {
            load.spawn(ask_on(address, Arc::clone(&known), count.clone()));
        }
        kill((child, lines), counted, when, load).await;
        if life % CHECK_EACH == CHECK_EACH - 1 || life + 1 == KILLS {
            held = check(folder.path(), &known.lock().unwrap(), life);
        }
    }
    let receipts = known.lock().unwrap().len();
    let (answers, judged) = held;
    println!(
        "{KILLS} kills: {answers} answers and {judged} verdicts in the log, {receipts} receipts held outside"
    );
    assert!(receipts > 0 && judged > 0);
}
