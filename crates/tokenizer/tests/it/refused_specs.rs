//! Vocabularies that do not fit together are refused with the reason.

use tokenizer::{
    Error, MAX_MERGES, MAX_SPECIAL_BYTES, MAX_TEMPLATE_BYTES, MAX_TOKEN_BYTES, MAX_VOCABULARY, TokenType,
    Tokenizer, TokenizerKind, TokenizerSpec, known_pre_tokenizers,
};

use crate::fixtures::spec;

fn small() -> TokenizerSpec {
    let tokens = ["a", "b", "ab", "<|im_end|>", "<0x0A>"].map(|name| name.as_bytes().to_vec()).to_vec();
    let mut made = spec(TokenizerKind::Bpe, tokens);
    made.types[3] = TokenType::Control;
    made.types[4] = TokenType::Byte;
    made.merges = vec![b"a b".to_vec()];
    made
}

#[track_caller]
fn check(change: impl FnOnce(&mut TokenizerSpec), expected: &Error) {
    let mut changed = small();
    change(&mut changed);
    assert_eq!(Tokenizer::new(changed).unwrap_err(), *expected);
}

#[test]
fn the_small_one_is_accepted() {
    assert!(Tokenizer::new(small()).is_ok());
    for pre in known_pre_tokenizers() {
        assert!(Tokenizer::new(TokenizerSpec { pre: pre.to_owned(), ..small() }).is_ok(), "{pre}");
    }
}

#[test]
fn lengths() {
    check(|spec| spec.tokens.clear(), &Error::VocabularySize { count: 0, max: MAX_VOCABULARY });
    let many = MAX_VOCABULARY + 1;
    check(
        |spec| spec.tokens = vec![Vec::new(); many],
        &Error::VocabularySize { count: many, max: MAX_VOCABULARY },
    );
    check(|spec| spec.types.truncate(4), &Error::Lengths { what: "token types", count: 4, tokens: 5 });
    check(|spec| spec.score_bits.truncate(4), &Error::Lengths { what: "scores", count: 4, tokens: 5 });
    let no_scores = |spec: &mut TokenizerSpec| {
        spec.kind = TokenizerKind::SentencePiece;
        spec.score_bits.clear();
    };
    check(no_scores, &Error::Lengths { what: "scores", count: 0, tokens: 5 });
    let merges = MAX_MERGES + 1;
    check(
        |spec| spec.merges = vec![Vec::new(); merges],
        &Error::MergeCount { count: merges, max: MAX_MERGES },
    );
}

#[test]
fn names() {
    let too_long = MAX_TOKEN_BYTES + 1;
    check(
        |spec| spec.tokens[0] = vec![b'x'; too_long],
        &Error::TokenSize { id: 0, bytes: too_long, max: MAX_TOKEN_BYTES },
    );
    let too_long = MAX_SPECIAL_BYTES + 1;
    check(
        |spec| spec.tokens[3] = vec![b'x'; too_long],
        &Error::TokenSize { id: 3, bytes: too_long, max: MAX_SPECIAL_BYTES },
    );
    check(|spec| spec.tokens[0] = vec![0xff], &Error::TokenNotUtf8 { id: 0 });
    check(|spec| spec.tokens[3] = b"b".to_vec(), &Error::DuplicateToken { first: 1, second: 3 });
    for name in ["<0x0>", "<0x00A>", "0x0A", "<0x+A>", "\n"] {
        check(|spec| spec.tokens[4] = name.as_bytes().to_vec(), &Error::ByteTokenName { id: 4 });
    }
    let mut holes = small();
    holes.tokens[3].clear();
    holes.tokens.push(Vec::new());
    holes.types.push(TokenType::Unused);
    holes.score_bits.push(0);
    assert!(Tokenizer::new(holes).is_ok());
}

#[test]
fn merges() {
    for form in ["ab", "a ", " a", "", " ", "a"] {
        check(|spec| spec.merges[0] = form.as_bytes().to_vec(), &Error::MergeForm { index: 0 });
    }
    for unknown in ["b a", "a c", "a b ", "<|im_end|> a", "a  b"] {
        check(|spec| spec.merges.push(unknown.as_bytes().to_vec()), &Error::MergeToken { index: 1 });
    }
    check(|spec| spec.types[2] = TokenType::Control, &Error::MergeToken { index: 0 });
    check(|spec| spec.merges.push(b"a b".to_vec()), &Error::DuplicateMerge { index: 1 });
}

#[test]
fn scores() {
    for bits in [f32::NAN.to_bits(), 0x7f80_0001, 0xffff_ffff] {
        let not_a_number = |spec: &mut TokenizerSpec| {
            spec.kind = TokenizerKind::SentencePiece;
            spec.score_bits[1] = bits;
        };
        check(not_a_number, &Error::ScoreNotANumber { id: 1 });
    }
}

#[test]
fn ids() {
    let outside = |name| Error::IdOutOfRange { name, id: 5, vocabulary: 5 };
    check(|spec| spec.bos = Some(5), &outside("bos"));
    check(|spec| spec.eos = Some(5), &outside("eos"));
    check(|spec| spec.unknown = Some(5), &outside("unknown"));
    check(|spec| spec.padding = Some(5), &outside("padding"));
    check(|spec| spec.end_ids = vec![0, 5], &outside("end"));
    check(|spec| spec.add_bos = true, &Error::NothingToAdd { flag: "add_bos", id: "bos" });
    check(|spec| spec.add_eos = true, &Error::NothingToAdd { flag: "add_eos", id: "eos" });
}

#[test]
fn pre_tokenizer() {
    let known = known_pre_tokenizers().collect::<Vec<_>>().join(", ");
    assert!(known.contains("smollm") && known.contains("llama-bpe") && known.contains("default"));
    check(
        |spec| spec.pre = "tekken".to_owned(),
        &Error::UnknownPreTokenizer { name: "tekken".to_owned(), known },
    );
}

#[test]
fn template() {
    let bytes = MAX_TEMPLATE_BYTES + 1;
    check(
        |spec| spec.chat_template = Some("a".repeat(bytes)),
        &Error::TemplateSize { bytes, max: MAX_TEMPLATE_BYTES },
    );
    let mut changed = small();
    changed.chat_template = Some("\n{% if %}".to_owned());
    assert!(matches!(Tokenizer::new(changed), Err(Error::TemplateSyntax { line: 2, .. })));
}
