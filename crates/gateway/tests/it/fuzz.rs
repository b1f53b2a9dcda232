//! The fuzz entries on their first inputs and on many changes of them, without coverage: a smoke test of what the fuzz
//! targets run for hours.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway::panel::PanelPolicy;
use gateway::record::Record;
use gateway::state::Mode;
use serde_json::json;

use self::entries::changed::{Changed, SEED};
use self::entries::mutate::mutated;
use self::entries::{ENTRIES, entry};
use crate::client::{CHAT, COMPLETIONS, Client, chat, exchange, post, text};
use crate::fake::{FakeServer, Gateway, Setup, soon};

#[expect(unreachable_pub, reason = "for the fuzz targets they are a crate")]
#[path = "../../../../fuzz/entries/lib.rs"]
mod entries;

const INPUTS: u64 = 20_000;

fn check(name: &str, least: u64) {
    let entry = entry(name);
    Changed { name, run: entry.run, seeds: &(entry.seeds)(), inputs: INPUTS, least }.check_all();
}

#[test]
fn requests() {
    check("request", 100);
}

#[test]
fn stop_sequences() {
    check("stop", 10_000);
}

#[test]
fn events() {
    check("sse", 100);
}

#[test]
fn api_keys() {
    check("api_keys", 100);
}

#[test]
fn link_messages() {
    check("link", 100);
}

#[test]
fn lease_messages() {
    check("lease", 100);
}

#[test]
fn records() {
    check("record", 100);
}

#[test]
fn segments() {
    check("segment", 50);
}

#[test]
fn tokenizer_files() {
    check("tokenizer_file", 100);
}

#[test]
fn receipts() {
    check("receipt", 100);
}

#[test]
fn checkpoints() {
    check("checkpoint", 100);
}

#[test]
fn beacons() {
    check("beacon", 100);
}

#[test]
fn epoch_files() {
    check("epoch_file", 100);
}

#[test]
fn inclusion_proofs() {
    check("inclusion", 100);
}

#[test]
fn whitelists() {
    check("whitelist", 100);
}

#[test]
fn every_entry_has_its_test() {
    let text = include_str!("fuzz.rs");
    for entry in &ENTRIES {
        assert!(text.contains(&format!("check(\"{}\",", entry.name)), "{}", entry.name);
    }
}

/// Requests as they are on the wire, each for one connection.
fn connections() -> Vec<Vec<u8>> {
    let chunked = format!(
        "POST {COMPLETIONS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         1f\r\n{{\"model\":\"tiny\",\"prompt\":\"ab\"}}\r\n0\r\n\r\n"
    );
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    vec![
        chat("Hi", json!({ "stream": true, "max_tokens": 5, "stop": ["s"] })),
        text("Hi", json!({ "seed": 3, "logprobs": null })),
        [text("one", json!({})), text("two", json!({ "stream": true }))].concat(),
        post(CHAT, b"{}"),
        chunked.into_bytes(),
        get("/v1/models/tiny"),
        get("/v1/receipts/0000000000000000/proof"),
        get("/v1/epochs/0/checkpoint"),
        [get("/health"), get("/status"), get("/metrics")].concat(),
    ]
}

/// Any bytes on a connection: each ends in answers or is closed, nothing panics behind it, and every tag ends in the log.
#[tokio::test]
async fn connections_with_any_bytes() {
    const CONNECTIONS: u64 = INPUTS;
    static PANICS: AtomicU64 = AtomicU64::new(0);
    // A task that panics takes its connection with it and nothing else, so that it would not be seen.
    let (own, before) = (std::thread::current().id(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(u64::from(std::thread::current().id() == own), Ordering::Relaxed);
        before(panic);
    }));
    let setup = Setup { recomputers: PanelPolicy::single(600_000, 10_000), ..Setup::default() };
    let mut gateway = Gateway::serving(setup).await;
    let server = std::mem::replace(&mut gateway.server, FakeServer::nowhere());
    let served = tokio::spawn(server.answer_all("yes"));
    let seeds = connections();
    let mut statuses = BTreeMap::new();
    for number in 0..CONNECTIONS {
        let input = mutated(&mut (SEED ^ number << 20), &seeds);
        let rest = Client::asking(gateway.address, &input).await.rest().await;
        let context = || format!("seed {SEED}, connection {number}: {}", String::from_utf8_lossy(&input));
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "{}", context());
        if !rest.is_empty() {
            // A changed request may ask in the older version.
            let after = rest.strip_prefix(b"HTTP/1.1 ").or_else(|| rest.strip_prefix(b"HTTP/1.0 "));
            let status = after.and_then(|after| after.get(..3));
            let status = status.unwrap_or_else(|| unreachable!("{}", context()));
            *statuses.entry(String::from_utf8_lossy(status).into_owned()).or_insert(0) += 1;
            assert_ne!(status, b"500", "{}", context());
        }
    }
    println!("{CONNECTIONS} connections from seed {SEED}: {statuses:?}");
    assert!(statuses.contains_key("200") && statuses.contains_key("400"), "{statuses:?}");
    assert_eq!(gateway.service.mode(), Mode::Serving);
    assert_eq!(exchange(gateway.address, &text("last", json!({}))).await.status, 200);
    soon("the last record", gateway.service.finish_answers()).await;
    let ended = gateway
        .records()
        .into_iter()
        .filter(|record| matches!(record, Record::Answered(_) | Record::Dropped(_)));
    let requests = gateway.service.counters.requests.load(Ordering::Relaxed);
    assert_eq!(u64::try_from(ended.count()), Ok(requests));
    served.abort();
}
