//! One server's life through the real link: every violation has its own reason, and the process is dead after each.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::time::Duration;

use gateway::server_link::{Command, Reply};
use gateway::state::{Asked, KillReason, Limits, Mode};
use protocol::link::{FromServer, MAX_FROM_SERVER_BYTES, ToServer, frame};
use protocol::{ClientSeed, FinishReason, Nonce, SamplingSettings};
use tokio::sync::mpsc;

use crate::fake::{END, FakeServer, Link, VOCABULARY, fingerprint, limits, soon, weights};

const GROUP: usize = 1 << 20;
/// Two whole groups and a short one.
const BYTES: usize = 2 * GROUP + 4321;
const MAX_TOKENS: u32 = 3;

fn start(limits: Limits) -> (Link, FakeServer) {
    let weights = weights(usize::try_from(limits.weights_bytes).unwrap());
    Link::start(&weights, &weights, limits)
}

async fn serving(limits: Limits) -> (Link, FakeServer) {
    let (mut link, mut server) = start(limits);
    server.boot().await;
    link.reaches(Mode::Serving).await;
    (link, server)
}

/// Asks for [`MAX_TOKENS`] tokens.
async fn ask(link: &Link, tag: u64) -> mpsc::UnboundedReceiver<Reply> {
    let (reply, replies) = mpsc::unbounded_channel();
    let asked = Asked { prompt_tokens: 2, max_tokens: MAX_TOKENS, logprobs: None };
    let command = Command::Ask { tag, asked, message: request(tag, vec![1, 2]), reply };
    soon("room for a request", link.commands.send(command)).await.unwrap();
    replies
}

fn request(tag: u64, prompt_ids: Vec<u32>) -> ToServer {
    ToServer::Generate {
        tag,
        prompt_ids,
        settings: SamplingSettings { max_tokens: MAX_TOKENS, ..SamplingSettings::greedy() },
        nonce: Nonce::from_bytes([3; 32]),
        client_seed: ClientSeed::from_bytes([4; 32]),
        logprobs: None,
    }
}

fn token(id: u32) -> Reply {
    Reply::Token { id, fingerprint: fingerprint(), logprobs: None }
}

async fn next(replies: &mut mpsc::UnboundedReceiver<Reply>) -> Option<Reply> {
    soon("a reply", replies.recv()).await
}

#[tokio::test]
async fn an_honest_life() {
    let (link, mut server) = serving(limits(BYTES)).await;
    assert_eq!(server.weights, weights(BYTES));
    let mut replies = ask(&link, 7).await;
    let request = server.generate().await;
    assert_eq!((request.tag, request.prompt_ids), (7, vec![1, 2]));
    assert_eq!(
        (request.nonce, request.client_seed),
        (Nonce::from_bytes([3; 32]), ClientSeed::from_bytes([4; 32]))
    );
    server.tokens(7, &[0, VOCABULARY - 1, 5]).await;
    server.finish(7, FinishReason::Length).await;
    for id in [0, VOCABULARY - 1, 5] {
        assert_eq!(next(&mut replies).await, Some(token(id)));
    }
    assert_eq!(next(&mut replies).await, Some(Reply::Finished(FinishReason::Length)));
    assert_eq!(next(&mut replies).await, None);
    link.commands.send(Command::Drain).await.unwrap();
    assert_eq!(link.end().await, Mode::Off);
    assert_eq!(server.rest().await, []);
}

/// Uploads a file with other bytes than the whitelist names; the server gets these groups and nothing else.
async fn check_refused(stored: &[u8], groups: usize) {
    let right = weights(BYTES);
    let (link, mut server) = Link::start(&right, stored, limits(BYTES));
    let sent = server.rest().await;
    link.ends_killed(KillReason::Weights).await;
    let mut expected = vec![ToServer::Weights { bytes: u64::try_from(BYTES).unwrap() }];
    expected.extend(right.chunks(GROUP).take(groups).map(|group| ToServer::Group { bytes: group.to_vec() }));
    // Not assert_eq: nobody wants to read two megabytes.
    assert!(sent == expected, "{} messages instead of {}", sent.len(), expected.len());
}

#[tokio::test]
async fn one_wrong_bit_in_any_group_ends_the_upload_before_it() {
    for (at, groups) in [(0, 0), (GROUP - 1, 0), (GROUP, 1), (2 * GROUP, 2), (BYTES - 1, 2)] {
        let mut stored = weights(BYTES);
        stored[at] ^= 1;
        check_refused(&stored, groups).await;
    }
}

#[tokio::test]
async fn a_file_of_another_length_is_refused() {
    let mut stored = weights(BYTES + 1);
    check_refused(&stored, 3).await;
    stored.truncate(BYTES - 1);
    check_refused(&stored, 2).await;
    check_refused(&[], 0).await;
}

#[tokio::test]
async fn nothing_may_come_out_during_the_upload() {
    let readback = FromServer::Readback { challenge: 1, digest: [0; 32] };
    for message in [FromServer::Ready, FromServer::Refused { tag: 0 }, readback] {
        // A group is longer than what a socket holds, so the upload waits for this server.
        for groups in [0, 1] {
            let (link, mut server) = start(limits(BYTES));
            server.announced().await;
            for _ in 0..groups {
                server.group().await;
            }
            server.say(message.clone()).await;
            link.ends_killed(KillReason::EgressInUpload).await;
        }
    }
}

#[tokio::test]
async fn ready_before_the_last_group_is_too_early() {
    let (link, mut server) = start(limits(2 * GROUP));
    server.announced().await;
    server.group().await;
    server.say(FromServer::Ready).await;
    link.ends_killed(KillReason::EgressInUpload).await;
}

/// The server runs on a thread of its own, and is ready the moment that it has the last byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_server_is_not_too_early() {
    for round in 0..40 {
        let (mut link, mut server) = start(limits(if round % 10 == 0 { GROUP + 10 } else { 5000 }));
        let server = tokio::spawn(async move {
            server.boot().await;
            server
        });
        let server = soon("the server's start", server).await.unwrap();
        link.reaches(Mode::Serving).await;
        drop(server);
    }
}

#[tokio::test]
async fn a_wrong_readback_kills() {
    let (link, mut server) = start(limits(BYTES));
    server.upload().await;
    server.say(FromServer::Ready).await;
    let (challenge, key, ranges) = soon("a challenge", server.challenge()).await;
    assert!(!ranges.is_empty());
    // Every bit of every range counts.
    let last = ranges.last().unwrap();
    let at = usize::try_from(last.offset).unwrap() + usize::try_from(last.length).unwrap() - 1;
    server.weights[at] ^= 0x80;
    server.prove(challenge, &key, &ranges).await;
    link.ends_killed(KillReason::Readback).await;
}

#[tokio::test]
async fn deadlines_of_the_start() {
    let (link, mut server) = start(Limits { load_ms: 100, ..limits(BYTES) });
    server.upload().await;
    link.ends_killed(KillReason::LoadLate).await;
    let (link, mut server) = start(Limits { readback_ms: 100, ..limits(BYTES) });
    server.upload().await;
    server.say(FromServer::Ready).await;
    soon("a challenge", server.challenge()).await;
    link.ends_killed(KillReason::ReadbackLate).await;
}

/// Asks, lets the server do something, and expects the kill at the link and at the request.
async fn check_kill(misdeed: impl AsyncFnOnce(&mut FakeServer), reason: KillReason) {
    let (link, mut server) = serving(limits(5000)).await;
    let mut replies = ask(&link, 7).await;
    assert_eq!(server.generate().await.tag, 7);
    misdeed(&mut server).await;
    link.ends_killed(reason).await;
    loop {
        match next(&mut replies).await {
            Some(Reply::Token { .. }) => {}
            end => {
                let finished = matches!(end, Some(Reply::Finished(_)));
                assert!(finished || end == Some(Reply::Killed(reason)), "{end:?}");
                break;
            }
        }
    }
    assert_eq!(server.rest().await, []);
}

#[tokio::test]
async fn what_is_no_message_kills() {
    check_kill(async |server| server.write(&frame(b"\x83no message")).await, KillReason::Message).await;
    check_kill(async |server| server.write(&frame(&[])).await, KillReason::Message).await;
    let mut long = frame(&FromServer::Ready.encode());
    long[3] += 1;
    long.push(0);
    check_kill(async |server| server.write(&long).await, KillReason::Message).await;
    check_kill(async |server| server.say(FromServer::Ready).await, KillReason::Message).await;
    let too_long = u32::try_from(MAX_FROM_SERVER_BYTES).unwrap() + 1;
    check_kill(async |server| server.write(&too_long.to_be_bytes()).await, KillReason::Message).await;
}

/// The most address space that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_huge_length_kills_and_is_not_allocated() {
    let before_kib = peak_kib();
    check_kill(async |server| server.write(&[0xff; 4]).await, KillReason::Message).await;
    // The length is 4 GiB; threads of other tests take less than one.
    assert!(peak_kib() - before_kib < 1 << 20);
}

#[tokio::test]
async fn a_server_that_closes_is_killed() {
    for groups in [None, Some(0), Some(1)] {
        let (link, mut server) = start(limits(BYTES));
        if let Some(groups) = groups {
            server.announced().await;
            for _ in 0..groups {
                server.group().await;
            }
        }
        drop(server);
        link.ends_killed(KillReason::Gone).await;
    }
    let (link, server) = serving(limits(5000)).await;
    let mut replies = ask(&link, 7).await;
    drop(server);
    link.ends_killed(KillReason::Gone).await;
    // The request may have come first, or have been left in the queue.
    assert!(matches!(next(&mut replies).await, None | Some(Reply::Killed(KillReason::Gone))));
}

#[tokio::test]
async fn half_a_message_is_none() {
    let (link, mut server) = serving(limits(5000)).await;
    let message = frame(&FromServer::Refused { tag: 7 }.encode());
    server.write(&message[..message.len() - 1]).await;
    drop(server);
    link.ends_killed(KillReason::Gone).await;
}

#[tokio::test]
async fn tokens_are_counted_and_in_the_vocabulary() {
    check_kill(async |server| server.tokens(7, &[VOCABULARY]).await, KillReason::Vocabulary).await;
    check_kill(async |server| server.tokens(7, &[u32::MAX]).await, KillReason::Vocabulary).await;
    check_kill(async |server| server.tokens(7, &[1, 2, 3, 4]).await, KillReason::Length).await;
    let early = async |server: &mut FakeServer| server.finish(7, FinishReason::Length).await;
    check_kill(early, KillReason::Length).await;
    let nobody_left = async |server: &mut FakeServer| server.finish(7, FinishReason::ReaderLeft).await;
    check_kill(nobody_left, KillReason::Length).await;
    // An answer ends with an end token, and only with one.
    let no_end = async |server: &mut FakeServer| {
        server.tokens(7, &[1]).await;
        server.finish(7, FinishReason::EndToken).await;
    };
    check_kill(no_end, KillReason::Length).await;
    check_kill(async |server| server.tokens(7, &[END, 1]).await, KillReason::Length).await;
    let denied_end = async |server: &mut FakeServer| {
        server.tokens(7, &[1, 2, END]).await;
        server.finish(7, FinishReason::Length).await;
    };
    check_kill(denied_end, KillReason::Length).await;
}

#[tokio::test]
async fn one_answer_per_tag() {
    let twice = async |server: &mut FakeServer| {
        server.tokens(7, &[1, END]).await;
        server.finish(7, FinishReason::EndToken).await;
        server.tokens(7, &[1]).await;
    };
    check_kill(twice, KillReason::Tag).await;
    check_kill(async |server| server.tokens(8, &[1]).await, KillReason::Tag).await;
    check_kill(async |server| server.finish(8, FinishReason::EndToken).await, KillReason::Tag).await;
    check_kill(async |server| server.say(FromServer::Refused { tag: 8 }).await, KillReason::Tag).await;
}

#[tokio::test]
async fn a_silent_server_is_killed() {
    let (link, mut server) = serving(Limits { silence_ms: 100, ..limits(5000) }).await;
    let mut replies = ask(&link, 7).await;
    server.generate().await;
    server.tokens(7, &[1]).await;
    link.ends_killed(KillReason::Silent).await;
    assert_eq!(next(&mut replies).await, Some(token(1)));
    assert_eq!(next(&mut replies).await, Some(Reply::Killed(KillReason::Silent)));
}

#[tokio::test]
async fn a_refused_request_is_no_crime() {
    let (link, mut server) = serving(limits(5000)).await;
    let mut replies = ask(&link, 7).await;
    let tag = server.generate().await.tag;
    server.say(FromServer::Refused { tag }).await;
    assert_eq!(next(&mut replies).await, Some(Reply::Refused));
    assert_eq!(*link.mode.borrow(), Mode::Serving);
}

#[tokio::test]
async fn a_reader_that_leaves_cancels_and_the_server_lives() {
    let (link, mut server) = serving(limits(5000)).await;
    let mut replies = ask(&link, 7).await;
    server.generate().await;
    server.tokens(7, &[1]).await;
    assert_eq!(next(&mut replies).await, Some(token(1)));
    link.commands.send(Command::ReaderLeft(7)).await.unwrap();
    assert_eq!(server.cancelled().await, 7);
    // What was on its way is dropped; then the server says that it stopped.
    server.tokens(7, &[2]).await;
    server.finish(7, FinishReason::ReaderLeft).await;
    assert_eq!(next(&mut replies).await, None);
    let mut replies = ask(&link, 8).await;
    assert_eq!(server.generate().await.tag, 8);
    server.tokens(8, &[3, END]).await;
    server.finish(8, FinishReason::EndToken).await;
    assert_eq!(next(&mut replies).await, Some(token(3)));
    assert_eq!(next(&mut replies).await, Some(token(END)));
    // Leaving an answer that is finished changes nothing.
    assert_eq!(next(&mut replies).await, Some(Reply::Finished(FinishReason::EndToken)));
    link.commands.send(Command::ReaderLeft(8)).await.unwrap();
    link.commands.send(Command::Drain).await.unwrap();
    assert_eq!(link.end().await, Mode::Off);
    assert_eq!(server.rest().await, []);
}

#[tokio::test]
async fn a_drain_finishes_what_runs() {
    let (mut link, mut server) = serving(limits(5000)).await;
    let mut replies = ask(&link, 7).await;
    server.generate().await;
    link.commands.send(Command::Drain).await.unwrap();
    link.reaches(Mode::Drain).await;
    let mut refused = ask(&link, 8).await;
    assert_eq!(next(&mut refused).await, Some(Reply::Refused));
    server.tokens(7, &[1, END]).await;
    server.finish(7, FinishReason::EndToken).await;
    assert_eq!(next(&mut replies).await, Some(token(1)));
    assert_eq!(next(&mut replies).await, Some(token(END)));
    assert_eq!(next(&mut replies).await, Some(Reply::Finished(FinishReason::EndToken)));
    assert_eq!(link.end().await, Mode::Off);
    assert_eq!(server.rest().await, []);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_silent_server() {
    let (link, mut server) = serving(Limits { silence_ms: 100, ..limits(5000) }).await;
    let _replies = ask(&link, 7).await;
    server.generate().await;
    link.commands.send(Command::Drain).await.unwrap();
    link.ends_killed(KillReason::Silent).await;
}

#[tokio::test]
async fn a_gateway_that_is_gone_drains() {
    let (mut link, mut server) = serving(Limits { silence_ms: 100, ..limits(5000) }).await;
    let _replies = ask(&link, 7).await;
    server.generate().await;
    // Nobody can give commands any more; deadlines hold nevertheless.
    link.commands = mpsc::channel(1).0;
    link.reaches(Mode::Drain).await;
    link.ends_killed(KillReason::Silent).await;
}

#[tokio::test]
async fn an_audit_kills_with_all_that_runs() {
    let (link, mut server) = serving(limits(5000)).await;
    let mut replies = ask(&link, 7).await;
    server.generate().await;
    link.commands.send(Command::Kill(KillReason::Audit)).await.unwrap();
    assert_eq!(next(&mut replies).await, Some(Reply::Killed(KillReason::Audit)));
    link.ends_killed(KillReason::Audit).await;
    assert_eq!(server.rest().await, []);
}

#[tokio::test]
async fn an_upload_can_be_stopped() {
    let (link, mut server) = start(limits(BYTES));
    server.announced().await;
    // The server reads no more, so the upload waits for it.
    link.commands.send(Command::Kill(KillReason::Operator)).await.unwrap();
    link.ends_killed(KillReason::Operator).await;
}

#[tokio::test]
async fn requests_during_the_upload_are_refused() {
    let (mut link, mut server) = start(limits(BYTES));
    server.announced().await;
    let mut replies = ask(&link, 7).await;
    assert_eq!(next(&mut replies).await, Some(Reply::Refused));
    link.commands.send(Command::ReaderLeft(7)).await.unwrap();
    while server.weights.len() < BYTES {
        server.group().await;
    }
    link.reaches(Mode::Loading).await;
    link.commands.send(Command::Drain).await.unwrap();
    assert_eq!(link.end().await, Mode::Off);
}

#[tokio::test]
async fn a_drain_ends_an_upload() {
    let (link, mut server) = start(limits(BYTES));
    server.announced().await;
    link.commands.send(Command::Drain).await.unwrap();
    assert_eq!(link.end().await, Mode::Off);
}

#[tokio::test]
async fn a_server_that_reads_nothing_stops_nobody() {
    let (link, server) = serving(limits(5000)).await;
    let mut kept = Vec::new();
    // More than a socket and all queues hold.
    for tag in 0..4000 {
        let (reply, replies) = mpsc::unbounded_channel();
        kept.push(replies);
        let asked = Asked { prompt_tokens: 200, max_tokens: MAX_TOKENS, logprobs: None };
        let command = Command::Ask { tag, asked, message: request(tag, vec![1; 200]), reply };
        if soon("room for a request", link.commands.send(command)).await.is_err() {
            break;
        }
    }
    link.ends_killed(KillReason::Silent).await;
    drop(server);
}

#[tokio::test]
async fn a_slow_proof_is_not_a_wrong_one() {
    let (link, mut server) = serving(limits(5000)).await;
    tokio::time::pause();
    let (challenge, key, ranges) = server.challenge().await;
    // Twice as long as the longest time between two challenges.
    tokio::time::sleep(Duration::from_secs(30)).await;
    server.prove(challenge, &key, &ranges).await;
    let (next_challenge, key, ranges) = server.challenge().await;
    assert_eq!(next_challenge, challenge + 1);
    server.prove(next_challenge, &key, &ranges).await;
    tokio::time::resume();
    assert_eq!(*link.mode.borrow(), Mode::Serving);
    link.commands.send(Command::Drain).await.unwrap();
    assert_eq!(link.end().await, Mode::Off);
}

#[tokio::test]
async fn a_challenge_while_serving_has_a_deadline() {
    let (mut link, mut server) = serving(Limits { readback_ms: 16_000, ..limits(5000) }).await;
    tokio::time::pause();
    server.challenge().await;
    let began = tokio::time::Instant::now();
    let dead = Mode::Killed(KillReason::ReadbackLate);
    link.mode.wait_for(|mode| matches!(mode, Mode::Killed(_))).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(17), "{:?}", began.elapsed());
    tokio::time::resume();
    assert_eq!(link.end().await, dead);
}

/// A server that somebody else started has no process here: what is left to take from it is the link.
#[tokio::test]
async fn a_kill_without_a_process_closes_the_link() {
    let weights = weights(5000);
    let (mut link, mut server) = Link::without_process(&weights, limits(5000));
    server.boot().await;
    link.reaches(Mode::Serving).await;
    link.commands.send(Command::Kill(KillReason::Audit)).await.unwrap();
    assert_eq!(server.rest().await, []);
    link.ends_killed(KillReason::Audit).await;
}
