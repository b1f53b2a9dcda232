//! Every way through the machine, and every violation with its exact reason.

use protocol::logprobs::RankedToken;

use super::*;

const LIMITS: Limits = Limits {
    weights_bytes: 2500,
    vocabulary: 100,
    context: 64,
    load_ms: 1000,
    readback_ms: 50,
    silence_ms: 200,
};
const END: u32 = 98;
const DIGEST: [u8; 32] = [8; 32];

fn fingerprint() -> LogitFingerprint {
    LogitFingerprint::new(1, 2).unwrap()
}

fn token(tag: u64, id: u32) -> Event {
    with_logprobs(tag, id, None)
}

fn with_logprobs(tag: u64, id: u32, logprobs: Option<TokenLogprobs>) -> Event {
    Event::Server(FromServer::Token { tag, id, fingerprint: fingerprint(), logprobs })
}

fn finished(tag: u64, finish: FinishReason) -> Event {
    Event::Server(FromServer::Finished { tag, finish })
}

fn asked(tag: u64) -> Event {
    Event::Asked(tag, Asked { prompt_tokens: 10, max_tokens: 3, logprobs: None })
}

/// Up to a mode, at time 0.
fn state(mode: Mode) -> State {
    let mut state = State::new(LIMITS, BTreeSet::from([END]));
    let readback = FromServer::Readback { challenge: 1, digest: DIGEST };
    for event in [
        Event::Boot,
        Event::GroupVerified { bytes: 1000 },
        Event::GroupVerified { bytes: 1000 },
        Event::GroupVerified { bytes: 500 },
        Event::Server(FromServer::Ready),
        Event::Challenged { challenge: 1, digest: DIGEST },
        Event::Server(readback),
    ] {
        if state.mode() == mode {
            break;
        }
        state.handle(0, event);
    }
    assert_eq!(state.mode(), mode);
    state
}

fn check_kill(mut state: State, now_ms: u64, event: Event, reason: KillReason) {
    assert_eq!(state.handle(now_ms, event), vec![Action::Kill(reason)]);
    assert_eq!(state.mode(), Mode::Killed(reason));
    // A killed server can't do anything any more.
    assert_eq!(state.handle(now_ms, Event::Server(FromServer::Ready)), vec![]);
    assert_eq!(state.handle(now_ms, Event::Boot), vec![]);
}

#[test]
fn an_honest_life() {
    let mut state = state(Mode::Serving);
    assert_eq!(state.handle(1, asked(5)), vec![]);
    assert_eq!(
        state.handle(2, token(5, 99)),
        vec![Action::Token { tag: 5, id: 99, fingerprint: fingerprint(), logprobs: None }]
    );
    state.handle(3, token(5, 0));
    state.handle(4, token(5, 1));
    let finish = FinishReason::Length;
    assert_eq!(state.handle(5, finished(5, finish)), vec![Action::Finished { tag: 5, finish }]);
    state.handle(6, asked(6));
    assert_eq!(state.handle(7, Event::Drain), vec![]);
    let finish = FinishReason::EndToken;
    state.handle(8, token(6, END));
    assert_eq!(
        state.handle(9, finished(6, finish)),
        vec![Action::Finished { tag: 6, finish }, Action::PowerOff]
    );
    assert_eq!(state.mode(), Mode::Off);
}

#[test]
fn logprobs_come_if_and_only_if_they_are_asked_for() {
    let logprobs = |ids: &[u32]| {
        let top = ids.iter().map(|id| RankedToken { id: *id, below_micronats: 5 }).collect();
        Some(TokenLogprobs { below_micronats: 5, top })
    };
    let serving = |asked_logprobs: Option<u8>| {
        let mut state = state(Mode::Serving);
        let asked = Asked { prompt_tokens: 10, max_tokens: 3, logprobs: asked_logprobs };
        state.handle(1, Event::Asked(5, asked));
        state
    };
    for (asked, sent) in [(None, None), (Some(0), logprobs(&[])), (Some(2), logprobs(&[7, 1]))] {
        let action = Action::Token { tag: 5, id: 7, fingerprint: fingerprint(), logprobs: sent.clone() };
        assert_eq!(serving(asked).handle(2, with_logprobs(5, 7, sent)), vec![action]);
    }
    // More than was asked for is room for a message of the server's own.
    for (asked, sent) in [
        (None, logprobs(&[])),
        (Some(0), None),
        (Some(2), logprobs(&[7])),
        (Some(2), logprobs(&[7, 7])),
        (Some(2), logprobs(&[7, 100])),
        (Some(1), logprobs(&[7, 1])),
    ] {
        check_kill(serving(asked), 2, with_logprobs(5, 7, sent), KillReason::Logprobs);
    }
}

#[test]
fn weights_are_counted_exactly() {
    let upload = state(Mode::Upload { sent: 2000 });
    check_kill(upload, 0, Event::GroupVerified { bytes: 501 }, KillReason::Weights);
    check_kill(state(Mode::Loading), 0, Event::GroupVerified { bytes: 1 }, KillReason::Weights);
    check_kill(state(Mode::Upload { sent: 1000 }), 0, Event::GroupRefused, KillReason::Weights);
    let mut short = state(Mode::Upload { sent: 2000 });
    short.handle(0, Event::GroupVerified { bytes: 499 });
    assert_eq!(short.mode(), Mode::Upload { sent: 2499 });
    check_kill(short, 0, Event::Server(FromServer::Ready), KillReason::EgressInUpload);
}

#[test]
fn nothing_comes_out_during_upload() {
    let readback = FromServer::Readback { challenge: 1, digest: DIGEST };
    for message in [FromServer::Ready, readback, FromServer::Refused { tag: 0 }] {
        let upload = state(Mode::Upload { sent: 1000 });
        check_kill(upload, 0, Event::Server(message), KillReason::EgressInUpload);
    }
}

#[test]
fn readback_is_right_and_in_time() {
    let challenged = || {
        let mut state = state(Mode::Readback);
        state.handle(0, Event::Challenged { challenge: 4, digest: DIGEST });
        state
    };
    let answer = |challenge, digest| Event::Server(FromServer::Readback { challenge, digest });
    assert_eq!(challenged().handle(50, answer(4, DIGEST)), vec![Action::Open]);
    check_kill(challenged(), 51, answer(4, DIGEST), KillReason::ReadbackLate);
    check_kill(challenged(), 51, Event::Tick, KillReason::ReadbackLate);
    check_kill(challenged(), 1, answer(4, [9; 32]), KillReason::Readback);
    check_kill(challenged(), 1, answer(3, DIGEST), KillReason::Readback);
    check_kill(state(Mode::Serving), 1, answer(4, DIGEST), KillReason::Message);
    let mut serving = state(Mode::Serving);
    serving.handle(10, Event::Challenged { challenge: 5, digest: DIGEST });
    assert_eq!(serving.handle(11, answer(5, DIGEST)), vec![]);
    assert_eq!(serving.mode(), Mode::Serving);
}

#[test]
fn one_answer_per_tag() {
    let flying = || {
        let mut state = state(Mode::Serving);
        state.handle(0, asked(5));
        state.handle(0, token(5, 1));
        state
    };
    check_kill(flying(), 0, token(6, 1), KillReason::Tag);
    check_kill(flying(), 0, finished(6, FinishReason::EndToken), KillReason::Tag);
    let mut answered = flying();
    answered.handle(0, token(5, END));
    answered.handle(0, finished(5, FinishReason::EndToken));
    check_kill(answered, 0, finished(5, FinishReason::EndToken), KillReason::Tag);
    check_kill(flying(), 0, finished(5, FinishReason::Length), KillReason::Length);
    check_kill(flying(), 0, finished(5, FinishReason::ContextFull), KillReason::Length);
    check_kill(flying(), 0, finished(5, FinishReason::ReaderLeft), KillReason::Length);
    check_kill(flying(), 0, token(5, 100), KillReason::Vocabulary);
    check_kill(flying(), 0, Event::Server(FromServer::Refused { tag: 5 }), KillReason::Message);
    let mut long = flying();
    long.handle(0, token(5, 1));
    long.handle(0, token(5, 1));
    check_kill(long, 0, token(5, 1), KillReason::Length);
}

#[test]
fn silence_is_noticed() {
    let mut state = state(Mode::Serving);
    state.handle(0, asked(5));
    state.handle(150, token(5, 1));
    assert_eq!(state.handle(350, Event::Tick), vec![]);
    check_kill(state, 351, Event::Tick, KillReason::Silent);
    check_kill(self::state(Mode::Loading), 1001, Event::Tick, KillReason::LoadLate);
}

#[test]
fn a_reader_may_leave() {
    let mut state = state(Mode::Serving);
    state.handle(0, asked(5));
    state.handle(0, token(5, 1));
    assert_eq!(state.handle(1, Event::ReaderLeft(5)), vec![Action::Cancel { tag: 5 }]);
    // What was on its way is no fault.
    assert_eq!(state.handle(2, token(5, 1)), vec![]);
    assert_eq!(state.handle(3, finished(5, FinishReason::ReaderLeft)), vec![]);
    assert_eq!(state.in_flight(), 0);
    assert_eq!(state.handle(4, Event::ReaderLeft(5)), vec![]);
}

#[test]
fn orders_are_followed_and_bricks_stay() {
    check_kill(state(Mode::Serving), 0, Event::Kill(KillReason::Audit), KillReason::Audit);
    check_kill(state(Mode::Serving), 0, Event::Unreadable, KillReason::Message);
    check_kill(state(Mode::Serving), 0, Event::Gone, KillReason::Gone);
    let mut state = state(Mode::Serving);
    state.handle(0, Event::Brick);
    assert_eq!((state.mode(), state.handle(0, Event::Boot)), (Mode::Bricked, vec![]));
}
