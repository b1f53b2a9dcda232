//! The file of keys: what it keeps, what it refuses, and what it must not hold.

use std::num::NonZeroU32;

use super::*;

fn key(name: &str, secret: &str) -> ApiKey {
    let rates = Rates { requests_per_minute: NonZeroU32::new(5), tokens_per_minute: None };
    ApiKey { name: name.to_owned(), digest: KeyDigest::of(secret), rates, revoked: false }
}

#[test]
fn a_file_keeps_everything_but_the_keys() {
    let mut keys = ApiKeys::default();
    keys.add(key("alice", "mxak1-secret-of-alice")).unwrap();
    keys.add(key("bob", "mxak1-secret-of-bob")).unwrap();
    assert_eq!(keys.revoke("bob"), Ok(true));
    assert_eq!(keys.revoke("bob"), Ok(false));
    let bytes = keys.encode();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains("alice") && !text.contains("secret"), "{text}");
    let read = ApiKeys::decode(&bytes).unwrap();
    assert_eq!((&read, read.encode()), (&keys, bytes));
    assert_eq!(read.accepted("mxak1-secret-of-alice").map(|key| key.name.as_str()), Some("alice"));
    for wrong in ["mxak1-secret-of-bob", "mxak1-secret-of-alic", "mxak1-secret-of-alice ", "", "alice"] {
        assert_eq!(read.accepted(wrong), None, "{wrong}");
    }
}

#[test]
fn names_and_keys_are_there_once() {
    let mut keys = ApiKeys::default();
    keys.add(key("alice", "a")).unwrap();
    let before = keys.clone();
    assert_eq!(keys.add(key("alice", "b")), Err(KeyError::NameTaken("alice".into())));
    assert_eq!(keys.add(key("bob", "a")), Err(KeyError::SameKey("alice".into(), "bob".into())));
    assert_eq!(keys.revoke("carol"), Err(KeyError::Unknown("carol".into())));
    for name in ["", "a b", "a\n", "ä", &"x".repeat(65)] {
        assert_eq!(keys.add(key(name, "b")), Err(KeyError::Name(name.into())));
    }
    assert_eq!(keys, before);
    keys.add(key(&"x".repeat(64), "b")).unwrap();
}

#[test]
fn other_files_are_refused() {
    let digest = KeyDigest::of("a").to_hex();
    let record = |more: &str| format!(r#"{{"version":1,"keys":[{{"name":"a","digest":"{digest}"{more}}}]}}"#);
    assert!(ApiKeys::decode(record("").as_bytes()).is_ok());
    assert!(ApiKeys::decode(record(r#","limits":{"requests_per_minute":1}"#).as_bytes()).is_ok());
    for text in [
        "",
        "mxak1-some-key\n",
        "[]",
        r#"{"version":1}"#,
        &record(r#","limits":{"requests_per_minute":0}"#),
        &record(r#","limits":{"tokens_per_minute":-1}"#),
        &record(r#","limits":{"requests":1}"#),
        &record(r#","revoke":true"#),
        &record(r#","revoked":1"#),
    ] {
        assert!(matches!(ApiKeys::decode(text.as_bytes()), Err(KeyError::Unreadable(_))), "{text}");
    }
    let changed = |from: &str, to: &str| ApiKeys::decode(record("").replace(from, to).as_bytes());
    assert_eq!(changed("\"version\":1", "\"version\":2"), Err(KeyError::Version(2)));
    assert_eq!(changed(&digest, &digest.to_uppercase()), Err(KeyError::Digest("a".into())));
    assert_eq!(changed(&digest, &digest[1..]), Err(KeyError::Digest("a".into())));
}
