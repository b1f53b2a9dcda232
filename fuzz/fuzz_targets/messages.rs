//! Any bytes as any message, record, list or receipt of the serving path: decoding returns, and what it accepts
//! encodes to the very same bytes. The first byte chooses which.
#![no_main]

use gateway::openai::Wanted;
use gateway::record::Record;
use gateway::store::parse_segment;
use gateway::tokenizer_file::decode_tokenizer;
use libfuzzer_sys::fuzz_target;
use protocol::lease::{FromGateway, ToGateway};
use protocol::link::{FromServer, ToServer};
use protocol::whitelist::{SignedWhitelist, Whitelist};
use protocol::{Receipt, SigningKey};

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let again = match choice % 12 {
        0 => ToServer::decode(data).ok().map(|message| message.encode()),
        1 => FromServer::decode(data).ok().map(|message| message.encode()),
        2 => ToGateway::decode(data).ok().map(|message| message.encode()),
        3 => FromGateway::decode(data).ok().map(|message| message.encode()),
        4 => Whitelist::decode(data).ok().map(|list| list.encode()),
        5 => SignedWhitelist::decode(data).ok().map(|list| list.encode()),
        6 => {
            let key = SigningKey::from_seed([7; 32]);
            assert!(Receipt::verify(data, &key.verifying_key()).is_err(), "a forged receipt");
            None
        }
        7 => {
            let Some((kind, data)) = data.split_first() else { return };
            if let Ok(record) = Record::decode(*kind, data) {
                assert_eq!(record.encode(), data, "two encodings of one record");
            }
            None
        }
        8 => {
            let _ = parse_segment(data);
            None
        }
        9 => {
            let _ = decode_tokenizer(data);
            None
        }
        chat => {
            let _ = Wanted::parse(data, chat == 10);
            None
        }
    };
    if let Some(again) = again {
        assert_eq!(again, data, "two encodings of one message");
    }
});
