//! What is fuzzed of the serving path: for each entry a function that takes any bytes and fails if a promise is broken, and
//! first inputs made of real values. The fuzz targets run them with coverage, and the gateway's tests without. Must never
//! accept by itself what only a parser of the project may accept.

mod api;
pub mod changed;
mod messages;
pub mod mutate;
mod signed;

/// One of them.
pub struct Entry {
    /// Also the name of the target and of its corpus.
    pub name: &'static str,
    /// Says whether the bytes were accepted; panics where a promise is broken.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that are accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const ENTRIES: [Entry; 15] = [
    Entry { name: "request", run: api::request, seeds: api::requests },
    Entry { name: "stop", run: api::stop, seeds: api::stops },
    Entry { name: "sse", run: api::sse, seeds: api::streams },
    Entry { name: "api_keys", run: api::api_keys, seeds: api::key_files },
    Entry { name: "link", run: messages::link, seeds: messages::link_messages },
    Entry { name: "lease", run: messages::lease, seeds: messages::lease_messages },
    Entry { name: "record", run: messages::record, seeds: messages::records },
    Entry { name: "segment", run: messages::segment, seeds: messages::segments },
    Entry { name: "tokenizer_file", run: messages::tokenizer_file, seeds: messages::tokenizer_files },
    Entry { name: "receipt", run: signed::receipt, seeds: signed::receipts },
    Entry { name: "checkpoint", run: signed::checkpoint, seeds: signed::checkpoints },
    Entry { name: "beacon", run: signed::beacon, seeds: signed::beacons },
    Entry { name: "epoch_file", run: signed::epoch_file, seeds: signed::epoch_files },
    Entry { name: "inclusion", run: signed::inclusion, seeds: signed::inclusions },
    Entry { name: "whitelist", run: signed::whitelist, seeds: signed::whitelists },
];

/// The entry with this name.
pub fn entry(name: &str) -> &'static Entry {
    ENTRIES.iter().find(|entry| entry.name == name).expect("the name is one of the entries'")
}
