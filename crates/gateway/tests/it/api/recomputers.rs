//! Two recomputers and more at a whole gateway: who is believed, who is asked, who is named.

use gateway::panel::PanelPolicy;
use gateway::sampling::PPB;
use gateway::state::{KillReason, Mode};
use gateway::unverifiable::BudgetPolicy;
use protocol::lease::{FromGateway, Outcome};
use serde_json::{Value, json};

use super::leases::{Recomputer, answer, counted, fail, judged};
use crate::client::{get, metric};
use crate::fake::{Gateway, Setup};

fn panel(names: &[&str]) -> PanelPolicy {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    PanelPolicy { names, key: [9; 32], ..PanelPolicy::single(600_000, 64) }
}

async fn with(names: &[&str]) -> Gateway {
    Gateway::serving(Setup { recomputers: panel(names), ..Setup::default() }).await
}

async fn warnings(gateway: &Gateway) -> Vec<(String, String)> {
    let status = get(gateway.address, "/status", "").await.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let warnings = status["audit"]["warnings"].as_array().cloned().unwrap_or_default();
    warnings.iter().map(|warning| (text(&warning["warning"]), text(&warning["who"]))).collect()
}

fn named(code: &str, who: &str) -> (String, String) {
    (code.to_owned(), who.to_owned())
}

#[tokio::test]
async fn two_that_agree_shut_the_server_down() {
    let mut gateway = with(&["north", "south"]).await;
    let tag = answer(&mut gateway).await;
    let (mut north, mut south) = (Recomputer::new(&gateway).await, Recomputer::other(&gateway, 0).await);
    north.done(tag, fail(Some(2))).await;
    assert_eq!((gateway.service.alarm(), gateway.service.mode()), (None, Mode::Serving));
    assert_eq!(warnings(&gateway).await, [named("fail_unconfirmed", "north")]);
    assert_eq!(south.job().await, tag);
    south.done(tag, fail(Some(3))).await;
    gateway.link.reaches(Mode::Killed(KillReason::Audit)).await;
    assert_eq!(gateway.service.alarm().map(|alarm| (alarm.tag, alarm.position)), Some((tag, Some(2))));
    assert_eq!(judged(&gateway), [(tag, fail(Some(2)))]);
    gateway.link.ends_killed(KillReason::Audit).await;
}

#[tokio::test]
async fn one_that_lies_alone_kills_nobody_and_is_named() {
    let mut gateway = with(&["north", "south"]).await;
    let tag = answer(&mut gateway).await;
    let (mut north, mut south) = (Recomputer::new(&gateway).await, Recomputer::other(&gateway, 0).await);
    // As often as it likes, over as many connections as it likes.
    north.done(tag, fail(Some(2))).await;
    Recomputer::new(&gateway).await.done(tag, fail(Some(2))).await;
    assert_eq!(south.job().await, tag);
    south.done(tag, Outcome::Pass).await;
    assert_eq!((gateway.service.alarm(), gateway.service.mode()), (None, Mode::Serving));
    let undecided = Outcome::Unverifiable { missing: "recomputers_disagree".to_owned() };
    assert_eq!(judged(&gateway), [(tag, undecided)]);
    assert_eq!(
        warnings(&gateway).await,
        [named("recomputers_disagree", "south, north"), named("fail_unconfirmed", "north")]
    );
    // It goes on serving.
    answer(&mut gateway).await;
}

#[tokio::test]
async fn a_third_decides_between_two() {
    let mut gateway = with(&["north", "south", "judge"]).await;
    let tag = answer(&mut gateway).await;
    let (mut north, mut south) = (Recomputer::new(&gateway).await, Recomputer::other(&gateway, 0).await);
    let mut judge = Recomputer::other(&gateway, 1).await;
    north.done(tag, fail(Some(2))).await;
    assert_eq!(judge.lease().await, Some(FromGateway::Idle));
    south.done(tag, Outcome::Pass).await;
    assert_eq!(judge.job().await, tag);
    judge.done(tag, fail(Some(2))).await;
    gateway.link.reaches(Mode::Killed(KillReason::Audit)).await;
    gateway.link.ends_killed(KillReason::Audit).await;
}

#[tokio::test]
async fn an_always_passing_recomputer_is_caught_by_a_canary() {
    let recomputers = PanelPolicy { canary_ppb: PPB, ..panel(&["lazy"]) };
    let mut gateway = Gateway::serving(Setup { recomputers, ..Setup::default() }).await;
    let mut lazy = Recomputer::new(&gateway).await;
    // The first pick has no canary before it, since there is nothing to make one of.
    let first = answer(&mut gateway).await;
    assert_eq!(lazy.job().await, first);
    lazy.done(first, Outcome::Pass).await;
    let second = answer(&mut gateway).await;
    let canary = lazy.job().await;
    assert_eq!(canary, first);
    lazy.done(canary, Outcome::Pass).await;
    assert_eq!(warnings(&gateway).await, [named("canary_passed", "lazy")]);
    // It gets nothing any more, and its word is nothing.
    assert_eq!(lazy.lease().await, Some(FromGateway::Idle));
    lazy.done(second, Outcome::Pass).await;
    assert_eq!((counted(&gateway), gateway.service.backlog()), ([1, 0, 0], 1));
    assert_eq!((gateway.service.mode(), gateway.service.alarm()), (Mode::Serving, None));
    let status = get(gateway.address, "/status", "").await.json();
    assert_eq!(status["audit"]["recomputers"][0]["has_voice"], json!(false));
}

/// The near miss: one that finds the canary keeps its voice, and the server is not blamed for it.
#[tokio::test]
async fn a_canary_that_is_found_blames_nobody() {
    let recomputers = PanelPolicy { canary_ppb: PPB, ..panel(&["careful"]) };
    let mut gateway = Gateway::serving(Setup { recomputers, ..Setup::default() }).await;
    let mut careful = Recomputer::new(&gateway).await;
    let first = answer(&mut gateway).await;
    careful.done(first, Outcome::Pass).await;
    let second = answer(&mut gateway).await;
    assert_eq!(careful.job().await, first);
    careful.done(first, fail(Some(0))).await;
    assert_eq!(careful.job().await, second);
    careful.done(second, Outcome::Pass).await;
    assert_eq!((counted(&gateway), gateway.service.mode()), ([2, 0, 0], Mode::Serving));
    assert_eq!((gateway.service.alarm(), warnings(&gateway).await), (None, vec![]));
    assert_eq!(judged(&gateway), [(first, Outcome::Pass), (second, Outcome::Pass)]);
}

#[tokio::test]
async fn too_many_without_a_verdict_are_an_alarm_by_name() {
    let unverifiable = BudgetPolicy { share_ppb: PPB / 4, window_ms: 1 << 40 };
    let mut gateway = Gateway::serving(Setup { unverifiable, ..Setup::default() }).await;
    let mut recomputer = Recomputer::new(&gateway).await;
    let missing = || Outcome::Unverifiable { missing: "model_missing".to_owned() };
    // Two of five are within a quarter, rounded up; three of six are not.
    for outcome in [Outcome::Pass, Outcome::Pass, missing(), Outcome::Pass, missing()] {
        let tag = answer(&mut gateway).await;
        recomputer.done(tag, outcome).await;
    }
    assert_eq!(warnings(&gateway).await, []);
    let tag = answer(&mut gateway).await;
    recomputer.done(tag, missing()).await;
    assert_eq!(warnings(&gateway).await, [named("unverifiable_budget", "3 of 6 answers")]);
    assert_eq!(metric(gateway.address, "maxwell_warnings_total").await, 1);
    assert_eq!(gateway.service.mode(), Mode::Serving);
}
