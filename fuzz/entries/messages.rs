//! Between the parties, and on the disk: messages of the link and of recomputers, records, segments, tokenizer bundles.
//! Each has one byte form.

use std::path::Path;

use gateway::record::{Answered, Dropped, Passed, Record, Started};
use gateway::store::{Store, StoreKey, StoreOptions, parse_segment};
use gateway::tokenizer_file::decode_tokenizer;
use protocol::checkpoint::ModelFloor;
use protocol::claim::CLAIM_VERSION;
use protocol::encoding::Encoder;
use protocol::lease::{FromGateway, Outcome, ToGateway};
use protocol::link::{ByteRange, FromServer, ToServer};
use protocol::logprobs::{Logprobs, RankedToken};
use protocol::{
    Claim, ClientSeed, FinishReason, LogitFingerprint, ModelCommitment, Nonce, SamplingSettings, Seed,
    TokenLogprobs,
};

/// With a choice in front.
fn chosen(choice: u8, bytes: Vec<u8>) -> Vec<u8> {
    [vec![choice], bytes].concat()
}

/// The first byte chooses the direction.
pub(crate) fn link(data: &[u8]) -> bool {
    let Some((choice, data)) = data.split_first() else { return false };
    let again = match choice % 2 {
        0 => ToServer::decode(data).map(|message| message.encode()),
        _ => FromServer::decode(data).map(|message| message.encode()),
    };
    again.inspect(|again| assert_eq!(again, data, "two encodings of one message")).is_ok()
}

fn logprobs() -> TokenLogprobs {
    let ranked = |id| RankedToken { id, below_micronats: 5 * id };
    TokenLogprobs { below_micronats: 5, top: (1..3).map(ranked).collect() }
}

pub(crate) fn link_messages() -> Vec<Vec<u8>> {
    let range = ByteRange { offset: 1 << 33, length: 4096 };
    let fingerprint = LogitFingerprint::new(1, 2).expect("both are below the prime");
    let to = [
        ToServer::Weights { bytes: 1 << 40 },
        ToServer::Group { bytes: vec![7; 40] },
        ToServer::Readback { challenge: 1, key: [2; 32], ranges: vec![range] },
        ToServer::Generate {
            tag: 7,
            prompt_ids: vec![1, 504, 3575],
            settings: SamplingSettings { max_tokens: 2, ..SamplingSettings::greedy() },
            nonce: Nonce::from_bytes([4; 32]),
            client_seed: ClientSeed::from_bytes([3; 32]),
            logprobs: Some(2),
        },
        ToServer::Cancel { tag: 7 },
    ];
    let from = [
        FromServer::Ready,
        FromServer::Readback { challenge: 1, digest: [2; 32] },
        FromServer::Token { tag: 7, id: 9, fingerprint, logprobs: None },
        FromServer::Token { tag: 7, id: 1, fingerprint, logprobs: Some(logprobs()) },
        FromServer::Finished { tag: 3, finish: FinishReason::EndToken },
        FromServer::Refused { tag: 3 },
    ];
    let to = to.iter().map(|message| chosen(0, message.encode()));
    to.chain(from.iter().map(|message| chosen(1, message.encode()))).collect()
}

/// The first byte chooses the direction.
pub(crate) fn lease(data: &[u8]) -> bool {
    let Some((choice, data)) = data.split_first() else { return false };
    let again = match choice % 2 {
        0 => ToGateway::decode(data).map(|message| message.encode()),
        _ => FromGateway::decode(data).map(|message| message.encode()),
    };
    again.inspect(|again| assert_eq!(again, data, "two encodings of one message")).is_ok()
}

pub(crate) fn lease_messages() -> Vec<Vec<u8>> {
    let fail = Outcome::Fail { reason: "output_token".to_owned(), position: Some(3) };
    let unverifiable = Outcome::Unverifiable { missing: "model".to_owned() };
    let outcomes = [Outcome::Pass, fail, unverifiable].map(|outcome| ToGateway::Done { tag: 4, outcome });
    let to = [ToGateway::Lease].into_iter().chain(outcomes).map(|message| chosen(0, message.encode()));
    // A job is as long as its size class, which is more than a mutation should have to keep.
    let from =
        [FromGateway::Idle, FromGateway::Recorded { tag: 5 }].map(|message| chosen(1, message.encode()));
    to.chain(from).collect()
}

/// The first byte is the kind.
pub(crate) fn record(data: &[u8]) -> bool {
    let Some((kind, data)) = data.split_first() else { return false };
    let Ok(record) = Record::decode(*kind, data) else { return false };
    assert_eq!((record.kind(), record.encode().as_slice()), (*kind, data), "two encodings of one record");
    if let Record::Answered(answered) = record {
        answered.claim.check_shape().expect("decoding checks the shape");
    }
    true
}

pub(crate) fn claim() -> Claim {
    let fingerprint = LogitFingerprint::new(1, 2).expect("both are below the prime");
    Claim {
        version: CLAIM_VERSION,
        numerics: "maxwell-ie5-1".to_owned(),
        model: ModelCommitment::from_bytes([1; 32]),
        template: None,
        prompt_ids: vec![1, 504, 3575],
        settings: SamplingSettings { max_tokens: 2, ..SamplingSettings::greedy() },
        client_seed: ClientSeed::from_bytes([3; 32]),
        nonce: Nonce::from_bytes([4; 32]),
        seed: Seed::from_bytes([5; 32]),
        output_ids: vec![282, 4649],
        finish: FinishReason::Length,
        output_bytes: b"hello".to_vec(),
        fingerprints: vec![fingerprint; 2],
        logprobs: None,
        trace: None,
    }
}

fn some_records() -> Vec<Record> {
    let with_logprobs = Claim { logprobs: Some(Logprobs { top: 2, tokens: vec![logprobs(); 2] }), ..claim() };
    let answered =
        |claim| Record::Answered(Box::new(Answered { tag: 1, picked: true, response: [1; 32], claim }));
    let floor = ModelFloor { model: ModelCommitment::from_bytes([1; 32]), floor_ppb: 1 };
    let started = Started {
        audit_key: [1; 32],
        seed_key: [2; 32],
        rate_ppb: 5,
        models: vec![floor],
        beacon_party: None,
        previous: None,
    };
    vec![
        Record::Started(Box::new(started)),
        answered(claim()),
        answered(with_logprobs),
        Record::Judged { tag: 3, outcome: Outcome::Fail { reason: "seed".to_owned(), position: Some(0) } },
        Record::Killed { reason: "audit".to_owned() },
        Record::Revealed { epoch: 4, audit_key: [2; 32] },
        Record::Checkpoint { signed: vec![1; 20] },
        Record::Beacon { epoch: 1, signed: vec![3; 20] },
        Record::PassBegan {
            audit_key: [4; 32],
            rate_ppb: 5,
            floor_ppb: 1,
            upstream: "127.0.0.1:1".to_owned(),
        },
        Record::Passed(Box::new(Passed {
            tag: 1,
            picked: true,
            request: [1; 32],
            response: [2; 32],
            request_bytes: 3,
            response_bytes: 4,
            finish: "delivered".to_owned(),
            flaw: Some("sse_cut".to_owned()),
        })),
        Record::Dropped(Box::new(Dropped {
            tag: 1,
            request: [1; 32],
            response: [2; 32],
            reason: "reader_left".to_owned(),
        })),
    ]
}

pub(crate) fn records() -> Vec<Vec<u8>> {
    some_records().iter().map(|record| chosen(record.kind(), record.encode())).collect()
}

/// What is read of a segment lies within it, in order and without a gap.
pub(crate) fn segment(data: &[u8]) -> bool {
    let Ok(segment) = parse_segment(data) else { return false };
    let mut written = segment.header.encode();
    for (offset, record) in &segment.records {
        assert_eq!(u64::try_from(written.len()).ok(), Some(*offset));
        record.encode(&mut written);
    }
    assert!(data.starts_with(&written), "two encodings of one segment");
    written.len() == data.len()
}

/// Of a real store in a folder that is gone afterwards.
pub(crate) fn segments() -> Vec<Vec<u8>> {
    let folder = std::env::temp_dir().join(format!("maxwell-fuzz-seeds-{}", std::process::id()));
    let bytes = written_store(&folder);
    std::fs::remove_dir_all(&folder).expect("the folder was made here");
    bytes
}

fn written_store(folder: &Path) -> Vec<Vec<u8>> {
    let options = StoreOptions { segment_bytes: 1024, segments_max: 8, pending_bytes_max: 1 << 16 };
    let (mut store, _) = Store::open(folder, &StoreKey::from_bytes([7; 32]), options).expect("a new store");
    for record in some_records() {
        store.append(record.kind(), record.encode()).expect("there is room");
        store.commit().expect("the disk works");
    }
    let files =
        std::fs::read_dir(folder).expect("the store is there").map(|file| file.expect("a name").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).expect("the store is there")).collect()
}

/// Reading returns.
pub(crate) fn tokenizer_file(data: &[u8]) -> bool {
    decode_tokenizer(data).is_ok()
}

pub(crate) fn tokenizer_files() -> Vec<Vec<u8>> {
    let mut out = Encoder::new();
    out.structure("maxwell.tokenizer", 1, 14);
    out.unsigned(0);
    out.text("gpt-2");
    out.array_header(3);
    [&b"a"[..], b"b", b"ab"].iter().for_each(|token| out.bytes(token));
    out.array_header(3);
    [1, 1, 3].iter().for_each(|kind| out.unsigned(*kind));
    out.list_u32(&[]);
    out.array_header(1);
    out.bytes(b"a b");
    out.null();
    out.unsigned(2);
    out.null();
    out.null();
    out.list_u32(&[]);
    (0..3).for_each(|_| out.boolean(false));
    out.bytes(b"{{ messages }}");
    vec![out.into_bytes()]
}
