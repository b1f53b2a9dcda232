//! What a verdict looks like from outside: exit codes, machine names, sentences.

use std::collections::BTreeSet;

use protocol::settings::SettingLimit;
use protocol::trace::{TraceFault, TraceOperation, TracePlace};
use protocol::{FinishReason, Missing, Reason, Seed, Verdict};

use crate::samples::{client_seed, model, nonce};

/// Every reason, with the code and position that it must have.
fn reasons() -> Vec<(Reason, &'static str, Option<u32>)> {
    let seed = Seed::from_bytes(*client_seed().as_bytes());
    let limit = SettingLimit { field: "top_p_ppm", value: 0, min: 1, max: 1_000_000, also: None };
    let finish = (FinishReason::Length, FinishReason::EndToken);
    let place = TracePlace { position: 11, block: 2, operation: TraceOperation::Output };
    vec![
        (Reason::Nonce { claimed: nonce(), issued: nonce() }, "nonce", None),
        (Reason::Seed { claimed: seed, derived: seed }, "seed", None),
        (Reason::Model { claimed: model(), ordered: model() }, "model", None),
        (Reason::Numerics { claimed: "a".into(), model: "b".into() }, "numerics", None),
        (Reason::Template { claimed: None, model: None }, "template", None),
        (Reason::SettingLimit(limit), "setting_limit", None),
        (Reason::PromptEmpty, "prompt_empty", None),
        (
            Reason::PromptTokenOutOfVocabulary { position: 1, token: 9, vocabulary: 5 },
            "prompt_token_out_of_vocabulary",
            Some(1),
        ),
        (Reason::ContextExceeded { tokens: 9, context: 8 }, "context_exceeded", None),
        (Reason::TooManyTokens { tokens: 9, max_tokens: 2 }, "too_many_tokens", Some(2)),
        (Reason::TokenAfterEnd { position: 3 }, "token_after_end", Some(3)),
        (Reason::OutputToken { position: 17, claimed: 312, computed: 4411 }, "output_token", Some(17)),
        (Reason::LogitFingerprint { position: 4 }, "logit_fingerprint", Some(4)),
        (Reason::Logprob { position: 2 }, "logprob", Some(2)),
        (Reason::FinishReason { claimed: finish.0, computed: finish.1 }, "finish_reason", None),
        (Reason::EndsEarly { claimed: finish.0, tokens: 5 }, "ends_early", Some(5)),
        (Reason::OutOfRange { claimed: Some(6), computed: None }, "out_of_range", Some(6)),
        (Reason::OutOfRange { claimed: Some(6), computed: Some(7) }, "out_of_range", Some(7)),
        (Reason::OutputBytes { offset: 8 }, "output_bytes", Some(8)),
        (Reason::ExecutionTrace { place, fault: TraceFault::Product }, "execution_trace", Some(11)),
    ]
}

#[test]
fn exit_codes() {
    assert_eq!(Verdict::Accept.exit_code(), 0);
    assert_eq!(Verdict::Undecided(Missing::Model(model())).exit_code(), 4);
    for (reason, ..) in reasons() {
        assert_eq!(Verdict::Reject(reason).exit_code(), 3);
    }
}

#[test]
fn codes_and_positions() {
    for (reason, code, position) in reasons() {
        let verdict = Verdict::Reject(reason);
        assert_eq!((verdict.code(), verdict.position()), (code, position));
    }
    let numerics = Verdict::Undecided(Missing::NumericsVersion("maxwell-ie9-1".into()));
    assert_eq!((numerics.code(), numerics.position()), ("numerics_version_missing", None));
    assert_eq!(Verdict::Undecided(Missing::Model(model())).code(), "model_missing");
    assert_eq!((Verdict::Accept.code(), Verdict::Accept.position()), ("accept", None));
}

#[test]
fn sentences_differ_and_say_what_is_wrong() {
    let sentences: BTreeSet<_> = reasons().into_iter().map(|(reason, ..)| reason.to_string()).collect();
    assert_eq!(sentences.len(), reasons().len());
    let token = Verdict::Reject(Reason::OutputToken { position: 17, claimed: 312, computed: 4411 });
    let expected = "rejected: output token 17 is 312 in the claim, but the model gives 4411";
    assert_eq!(token.to_string(), expected);
    let missing = Verdict::Undecided(Missing::NumericsVersion("maxwell-ie9-1".into()));
    let expected = "undecided: this build does not compute the numerics class maxwell-ie9-1; \
                    judge with a build that does";
    assert_eq!(missing.to_string(), expected);
    let hidden = Reason::OutOfRange { claimed: None, computed: Some(7) };
    let expected = "the claim has no activation out of range, but the model has an activation out of range at \
                    position 7";
    assert_eq!(hidden.to_string(), expected);
}
