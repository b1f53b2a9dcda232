//! Bundles written by hand, since the model crate, which writes them, must not be linked here.

use protocol::encoding::Encoder;
use protocol::group_tree::GroupTree;
use protocol::whitelist::{Whitelist, WhitelistEntry, authorize};
use protocol::{ModelCommitment, SigningKey};

use super::*;

/// What a bundle is made of, so that one part can be wrong.
struct Parts {
    kind: u64,
    tokens: Vec<Vec<u8>>,
    types: Vec<u64>,
    end_ids: Vec<u32>,
    template: Vec<u8>,
}

fn parts() -> Parts {
    let tokens = [&b"a"[..], b"b", b"ab", b"<end>"].map(<[u8]>::to_vec).to_vec();
    Parts { kind: 0, tokens, types: vec![1, 1, 1, 3], end_ids: vec![3], template: b"{{ x }}".to_vec() }
}

fn bundle(parts: &Parts) -> Vec<u8> {
    let mut out = Encoder::new();
    out.structure("maxwell.tokenizer", 1, 14);
    out.unsigned(parts.kind);
    out.text("gpt-2");
    out.array_header(parts.tokens.len());
    parts.tokens.iter().for_each(|token| out.bytes(token));
    out.array_header(parts.types.len());
    parts.types.iter().for_each(|kind| out.unsigned(*kind));
    out.list_u32(&[]);
    out.array_header(1);
    out.bytes(b"a b");
    out.null();
    out.unsigned(3);
    out.null();
    out.null();
    out.list_u32(&parts.end_ids);
    for flag in [false, false, true] {
        out.boolean(flag);
    }
    out.bytes(&parts.template);
    out.into_bytes()
}

fn spec() -> TokenizerSpec {
    TokenizerSpec {
        kind: TokenizerKind::Bpe,
        pre: "gpt-2".to_owned(),
        tokens: parts().tokens,
        types: vec![TokenType::Normal, TokenType::Normal, TokenType::Normal, TokenType::Control],
        score_bits: Vec::new(),
        merges: vec![b"a b".to_vec()],
        bos: None,
        eos: Some(3),
        end_ids: vec![3],
        unknown: None,
        padding: None,
        add_bos: false,
        add_eos: false,
        add_space_prefix: true,
        chat_template: Some("{{ x }}".to_owned()),
    }
}

#[test]
fn a_bundle_is_read() {
    assert_eq!(decode_tokenizer(&bundle(&parts())), Ok(spec()));
    let plain = Parts { template: Vec::new(), ..parts() };
    assert_eq!(decode_tokenizer(&bundle(&plain)), Ok(TokenizerSpec { chat_template: None, ..spec() }));
}

#[test]
fn every_prefix_and_every_extension_is_refused() {
    let bytes = bundle(&parts());
    for length in 0..bytes.len() {
        assert!(decode_tokenizer(&bytes[..length]).is_err(), "{length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    let expected = protocol::Error::TrailingBytes { offset: bytes.len(), count: 1 };
    assert_eq!(decode_tokenizer(&longer), Err(expected.into()));
}

#[test]
fn every_changed_byte_is_refused_or_another_tokenizer() {
    let bytes = bundle(&parts());
    for at in 0..bytes.len() {
        for flip in 1..=255_u8 {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            if let Ok(decoded) = decode_tokenizer(&changed) {
                assert_ne!(decoded, spec(), "byte {at} ^ {flip:#x}");
            }
        }
    }
}

#[track_caller]
fn check_refused(parts: &Parts, message: &str) {
    let error = decode_tokenizer(&bundle(parts)).expect_err(message).to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn wrong_parts_are_named() {
    check_refused(&Parts { kind: 2, ..parts() }, "2 is no kind of tokenizer");
    check_refused(&Parts { types: vec![1, 7], ..parts() }, "7 is no token type");
    check_refused(&Parts { types: vec![0], ..parts() }, "0 is no token type");
    check_refused(&Parts { template: vec![0xff], ..parts() }, "not UTF-8");
    check_refused(&Parts { template: vec![b'x'; MAX_TEMPLATE_BYTES + 1], ..parts() }, "the limit is 131072");
    check_refused(&Parts { tokens: vec![vec![b'x'; MAX_TOKEN_BYTES + 1]], ..parts() }, "the limit is 4096");
    check_refused(&Parts { end_ids: vec![0; 1025], ..parts() }, "the limit is 1024");
}

fn entry(bytes: &[u8], vocabulary: u32) -> AuthorizedEntry {
    let entry = WhitelistEntry {
        name: "tiny".to_owned(),
        model: ModelCommitment::from_bytes([1; 32]),
        numerics: "maxwell-ie5-1".to_owned(),
        template: None,
        weights: GroupTree::of(b"weights").head,
        tokenizer_digest: *blake3::hash(bytes).as_bytes(),
        vocabulary,
        context: 64,
        version: 1,
    };
    let list = Whitelist { version: 1, entries: vec![entry], expires_unix_s: None, revoked: Vec::new() };
    let keys = [1, 2].map(|seed| SigningKey::from_seed([seed; 32]));
    let signed = list.sign(&[&keys[0], &keys[1]]).unwrap();
    let list = authorize(&signed, &keys.each_ref().map(SigningKey::verifying_key), 0, 0).unwrap();
    list.by_name("tiny", 0).unwrap()
}

#[test]
fn only_the_whitelisted_bundle_is_opened() {
    let bytes = bundle(&parts());
    assert_eq!(open_tokenizer(&bytes, &entry(&bytes, 4)).unwrap().spec(), &spec());
    let other = bundle(&Parts { end_ids: vec![2], ..parts() });
    let refused =
        |bytes: &[u8], entry: &AuthorizedEntry| open_tokenizer(bytes, entry).map(|_| ()).unwrap_err();
    assert!(matches!(refused(&other, &entry(&bytes, 4)), TokenizerFileError::Digest { .. }));
    let expected = TokenizerFileError::Vocabulary { found: 4, expected: 5 };
    assert_eq!(refused(&bytes, &entry(&bytes, 5)), expected);
    // Whitelisted, but its parts do not fit together.
    let broken = bundle(&Parts { end_ids: vec![4], ..parts() });
    assert!(matches!(refused(&broken, &entry(&broken, 4)), TokenizerFileError::Tokenizer(_)));
}
