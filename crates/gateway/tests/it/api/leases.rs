//! Recomputers at the gateway: jobs, outcomes that come twice, and what is no message.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::sync::atomic::Ordering;

use gateway::panel::PanelPolicy;
use gateway::record::Record;
use gateway::state::{KillReason, Mode};
use protocol::Claim;
use protocol::lease::{FromGateway, Outcome, ToGateway};
use protocol::link::frame;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::client::{Client, get, text};
use crate::fake::{Gateway, Setup, ids, soon};

pub(super) struct Recomputer(UnixStream);

impl Recomputer {
    pub(super) async fn new(gateway: &Gateway) -> Self {
        Self(UnixStream::connect(&gateway.lease_path).await.unwrap())
    }

    /// The second or third one.
    pub(super) async fn other(gateway: &Gateway, place: usize) -> Self {
        Self(UnixStream::connect(&gateway.other_lease_paths[place]).await.unwrap())
    }

    /// The tag of the job that there is.
    pub(super) async fn job(&mut self) -> u64 {
        match self.lease().await {
            Some(FromGateway::Job { tag, .. }) => tag,
            other => unreachable!("{other:?}"),
        }
    }

    /// Sends bytes and gives the answer; `None` if the connection is closed.
    async fn send(&mut self, bytes: &[u8]) -> Option<FromGateway> {
        let _ = self.0.write_all(bytes).await;
        let answer = async {
            let mut length = [0; 4];
            self.0.read_exact(&mut length).await.ok()?;
            let mut bytes = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
            self.0.read_exact(&mut bytes).await.ok()?;
            Some(FromGateway::decode(&bytes).unwrap())
        };
        soon("an answer to a recomputer", answer).await
    }

    pub(super) async fn lease(&mut self) -> Option<FromGateway> {
        self.send(&frame(&ToGateway::Lease.encode())).await
    }

    pub(super) async fn done(&mut self, tag: u64, outcome: Outcome) {
        let answer = self.send(&frame(&ToGateway::Done { tag, outcome }.encode())).await;
        assert_eq!(answer, Some(FromGateway::Recorded { tag }));
    }
}

pub(super) fn fail(position: Option<u32>) -> Outcome {
    Outcome::Fail { reason: "output_token".to_owned(), position }
}

/// One answer to "Hi"; gives its tag.
pub(super) async fn answer(gateway: &mut Gateway) -> u64 {
    let mut client = Client::asking(gateway.address, &text("Hi", json!({}))).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.answer(tag, "yes").await;
    assert_eq!(client.response().await.status, 200);
    tag
}

pub(super) fn counted(gateway: &Gateway) -> [u64; 3] {
    let counters = &gateway.service.counters;
    [&counters.passed, &counters.failed, &counters.unverifiable]
        .map(|counter| counter.load(Ordering::Relaxed))
}

/// What was judged, as the log has it.
pub(super) fn judged(gateway: &Gateway) -> Vec<(u64, Outcome)> {
    let judged = |record| {
        let Record::Judged { tag, outcome } = record else { return None };
        Some((tag, outcome))
    };
    gateway.records().into_iter().filter_map(judged).collect()
}

#[tokio::test]
async fn a_job_is_given_out_and_counted_once() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let (mut one, mut other) = (Recomputer::new(&gateway).await, Recomputer::new(&gateway).await);
    assert_eq!(one.lease().await, Some(FromGateway::Idle));
    let tag = answer(&mut gateway).await;
    let Some(FromGateway::Job { tag: leased, claim }) = one.lease().await else { unreachable!("no job") };
    assert_eq!((leased, Claim::decode(&claim).unwrap().prompt_ids), (tag, ids("Hi")));
    assert_eq!(other.lease().await, Some(FromGateway::Idle));
    assert_eq!(gateway.service.backlog(), 1);
    one.done(tag, Outcome::Pass).await;
    assert_eq!((gateway.service.backlog(), counted(&gateway)), (0, [1, 0, 0]));
    // Again, by another one, with another outcome, and for what never was a job.
    one.done(tag, Outcome::Pass).await;
    other.done(tag, fail(None)).await;
    other.done(tag + 1, fail(None)).await;
    other.done(u64::MAX, Outcome::Unverifiable { missing: "model".to_owned() }).await;
    assert_eq!((counted(&gateway), gateway.service.alarm()), ([1, 0, 0], None));
    assert_eq!(gateway.service.mode(), Mode::Serving);
    assert_eq!(judged(&gateway), [(tag, Outcome::Pass)]);
    let second = answer(&mut gateway).await;
    one.done(second, Outcome::Unverifiable { missing: "model".to_owned() }).await;
    assert_eq!(counted(&gateway), [1, 0, 1]);
    assert_eq!(gateway.service.mode(), Mode::Serving);
}

#[tokio::test]
async fn a_lease_that_runs_out_is_given_out_again() {
    let mut gateway =
        Gateway::serving(Setup { recomputers: PanelPolicy::single(0, 64), ..Setup::default() }).await;
    answer(&mut gateway).await;
    let (mut one, mut other) = (Recomputer::new(&gateway).await, Recomputer::new(&gateway).await);
    let job = one.lease().await;
    assert!(matches!(job, Some(FromGateway::Job { .. })));
    assert_eq!(other.lease().await, job);
}

#[tokio::test]
async fn what_is_not_picked_is_not_given_out() {
    let rare = Setup { rate_ppb: gateway::sampling::RATE_MIN_PPB, ..Setup::default() };
    let mut gateway = Gateway::serving(rare).await;
    answer(&mut gateway).await;
    assert_eq!(Recomputer::new(&gateway).await.lease().await, Some(FromGateway::Idle));
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection_and_nothing_else() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let long = Outcome::Fail { reason: "x".repeat(65), position: None };
    let lease = ToGateway::Lease.encode();
    for bytes in [
        vec![0xff; 4],
        257_u32.to_be_bytes().to_vec(),
        frame(&[]),
        frame(b"garbage"),
        frame(&[&lease[..], &[0]].concat()),
        frame(&ToGateway::Done { tag: 0, outcome: long }.encode()),
        frame(&FromGateway::Idle.encode()),
    ] {
        assert_eq!(Recomputer::new(&gateway).await.send(&bytes).await, None, "{bytes:?}");
    }
    let mut half = Recomputer::new(&gateway).await;
    half.0.write_all(&frame(&lease)[..5]).await.unwrap();
    drop(half);
    let tag = answer(&mut gateway).await;
    assert!(
        matches!(Recomputer::new(&gateway).await.lease().await, Some(FromGateway::Job { tag: job, .. }) if job == tag)
    );
}

#[tokio::test]
async fn a_failure_kills_and_raises_the_alarm_once() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let (first, second) = (answer(&mut gateway).await, answer(&mut gateway).await);
    let mut alarms = gateway.service.watch_alarm();
    alarms.mark_unchanged();
    let mut client = Client::asking(gateway.address, &text("Hi", json!({}))).await;
    gateway.server.generate().await;
    let mut recomputer = Recomputer::new(&gateway).await;
    recomputer.done(second, fail(Some(2))).await;
    gateway.link.reaches(Mode::Killed(KillReason::Audit)).await;
    soon("the alarm", alarms.changed()).await.unwrap();
    let alarm = gateway.service.alarm().unwrap();
    assert_eq!((alarm.tag, alarm.reason.as_str(), alarm.position), (second, "output_token", Some(2)));
    // What ran is cut off.
    assert_eq!(client.response().await.status, 502);
    // More failures are counted, and change nothing else.
    recomputer.done(first, fail(None)).await;
    recomputer.done(second, fail(None)).await;
    assert_eq!(gateway.service.alarm(), Some(alarm));
    alarms.mark_unchanged();
    assert!(!alarms.has_changed().unwrap());
    assert_eq!(counted(&gateway), [0, 2, 0]);
    assert_eq!(judged(&gateway), [(second, fail(Some(2))), (first, fail(None))]);
    let status = get(gateway.address, "/status", "").await.json();
    assert_eq!(status["alarm"]["tag"], json!(format!("{second:016x}")));
    assert_eq!((&status["killed"], &status["fail"]), (&json!("audit"), &json!(2)));
    gateway.link.ends_killed(KillReason::Audit).await;
}

#[tokio::test]
async fn a_failure_kills_though_it_cannot_be_recorded() {
    let mut gateway = Gateway::serving(Setup::default()).await;
    let tag = answer(&mut gateway).await;
    gateway.disk_is_broken.store(true, Ordering::SeqCst);
    let mut recomputer = Recomputer::new(&gateway).await;
    // Not acknowledged: the job would come again.
    assert_eq!(recomputer.send(&frame(&ToGateway::Done { tag, outcome: fail(None) }.encode())).await, None);
    gateway.link.reaches(Mode::Killed(KillReason::Audit)).await;
    assert_eq!(gateway.service.alarm().unwrap().tag, tag);
    assert_eq!((gateway.service.backlog(), counted(&gateway)), (1, [0, 0, 0]));
    gateway.link.ends_killed(KillReason::Audit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_that_come_at_once_are_recorded_once() {
    const CONNECTIONS: usize = 8;
    // Leases run out at once, so everybody gets the same job.
    let setup = Setup { recomputers: PanelPolicy::single(0, 64), ..Setup::default() };
    let mut gateway = Gateway::serving(setup).await;
    let mut recomputers = Vec::new();
    for _ in 0..CONNECTIONS {
        recomputers.push(Recomputer::new(&gateway).await);
    }
    let mut expected = Vec::new();
    for _ in 0..10 {
        let tag = answer(&mut gateway).await;
        expected.push((tag, Outcome::Pass));
        for recomputer in &mut recomputers {
            assert_eq!(recomputer.job().await, tag);
        }
        let mut findings = tokio::task::JoinSet::new();
        for mut recomputer in recomputers.drain(..) {
            findings.spawn(async move {
                recomputer.done(tag, Outcome::Pass).await;
                recomputer
            });
        }
        recomputers = findings.join_all().await;
    }
    assert_eq!((judged(&gateway), counted(&gateway)), (expected, [10, 0, 0]));
}
