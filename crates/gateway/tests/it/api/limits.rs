//! What a key may ask for: over real connections, with limits that refill so slowly that no test sees it.

use std::num::NonZeroU32;

use gateway::access::{AccessRules, Timeouts};
use gateway::limits::Rates;
use protocol::link::FromServer;
use serde_json::json;

use crate::client::{COMPLETIONS, Client, Response, get, post_with};
use crate::fake::{Gateway, Setup, api_keys};

const fn rates(requests: u32, tokens: u32) -> Rates {
    Rates { requests_per_minute: NonZeroU32::new(requests), tokens_per_minute: NonZeroU32::new(tokens) }
}

/// A text of `prompt` tokens that wants `max_tokens` more, with the key of this name.
fn request(name: &str, prompt: usize, max_tokens: u32) -> Vec<u8> {
    let body = json!({ "model": "tiny", "prompt": "x".repeat(prompt), "max_tokens": max_tokens }).to_string();
    post_with(COMPLETIONS, &format!("Authorization: Bearer {name}{name}\r\n"), body.as_bytes())
}

async fn ask(gateway: &Gateway, name: &str, prompt: usize, max_tokens: u32) -> Response {
    let mut client = Client::asking(gateway.address, &request(name, prompt, max_tokens)).await;
    client.response().await
}

/// The same, with an answer of so many tokens, its end included.
async fn answered(
    gateway: &mut Gateway,
    name: &str,
    prompt: usize,
    max_tokens: u32,
    count: usize,
) -> Response {
    let mut client = Client::asking(gateway.address, &request(name, prompt, max_tokens)).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.answer(tag, &"y".repeat(count - 1)).await;
    client.response().await
}

fn number(response: &Response, header: &str) -> Option<u64> {
    response.header(header).and_then(|value| value.parse().ok())
}

#[tokio::test]
async fn requests_of_one_key() {
    let setup = Setup { keys: vec![("one", rates(2, 0)), ("other", rates(2, 0))], ..Setup::default() };
    let mut gateway = Gateway::serving(setup).await;
    for left in [1, 0] {
        let response = answered(&mut gateway, "one", 1, 1, 1).await;
        assert_eq!(response.status, 200);
        assert_eq!(number(&response, "x-ratelimit-limit-requests"), Some(2));
        assert_eq!(number(&response, "x-ratelimit-remaining-requests"), Some(left));
        assert_eq!(response.header("x-ratelimit-limit-tokens"), None);
    }
    let response = ask(&gateway, "one", 1, 1).await;
    assert_eq!(response.status, 429);
    assert!(response.error().contains("2 requests a minute"), "{}", response.error());
    // 30 seconds a request; a slow run may have used up a few of them.
    assert!((20..=30).contains(&number(&response, "retry-after").unwrap()), "{response:?}");
    assert_eq!(number(&response, "x-ratelimit-remaining-requests"), Some(0));
    assert!(response.header("x-ratelimit-reset-requests").is_some_and(|reset| reset.ends_with('s')));
    // Reading is free, and another key has its own.
    assert_eq!(get(gateway.address, "/v1/models", "Authorization: Bearer oneone\r\n").await.status, 200);
    assert_eq!(answered(&mut gateway, "other", 1, 1, 1).await.status, 200);
    // Bad requests count: reading them is work.
    assert_eq!(ask(&gateway, "other", 0, 1).await.status, 400);
    assert_eq!(ask(&gateway, "other", 0, 1).await.status, 429);
    let metrics = get(gateway.address, "/metrics", "").await.body;
    assert!(
        String::from_utf8(metrics).unwrap().contains("maxwell_rejected_total{reason=\"request_rate\"} 2\n")
    );
}

#[tokio::test]
async fn tokens_of_one_key_are_reserved_and_given_back() {
    // 200 tokens a minute come back at 1 in 300 ms; what is checked has room for that.
    let mut gateway =
        Gateway::serving(Setup { keys: vec![("one", rates(0, 200))], ..Setup::default() }).await;
    // 10 + 150 are reserved while it runs, and 10 + 20 are used.
    let mut running = Client::asking(gateway.address, &request("one", 10, 150)).await;
    let tag = gateway.server.generate().await.tag;
    let response = ask(&gateway, "one", 100, 50).await;
    assert_eq!(response.status, 429);
    assert!(response.error().contains("200 tokens a minute"), "{}", response.error());
    // 110 are missing: 33 seconds.
    assert!((23..=33).contains(&number(&response, "retry-after").unwrap()), "{response:?}");
    assert!((40..80).contains(&number(&response, "x-ratelimit-remaining-tokens").unwrap()));
    gateway.server.answer(tag, &"y".repeat(19)).await;
    let response = running.response().await;
    assert_eq!(response.status, 200);
    assert_eq!(number(&response, "x-ratelimit-limit-tokens"), Some(200));
    assert!((40..80).contains(&number(&response, "x-ratelimit-remaining-tokens").unwrap()));
    // 170 are there again, and not 200.
    assert_eq!(answered(&mut gateway, "one", 10, 150, 150).await.status, 200);
    assert_eq!(ask(&gateway, "one", 100, 50).await.status, 429);
}

#[tokio::test]
async fn what_never_fits_is_no_429() {
    let mut gateway =
        Gateway::serving(Setup { keys: vec![("one", rates(0, 100))], ..Setup::default() }).await;
    let response = ask(&gateway, "one", 60, 41).await;
    assert_eq!((response.status, response.header("retry-after")), (400, None));
    assert_eq!(response.json()["error"]["param"], "max_tokens");
    assert!(response.error().contains("waiting does not help"), "{}", response.error());
    assert_eq!(answered(&mut gateway, "one", 60, 40, 1).await.status, 200);
}

/// The context ends an answer, so only what fits into it is reserved.
#[tokio::test]
async fn an_endless_wish_costs_what_the_context_holds() {
    let mut gateway =
        Gateway::serving(Setup { keys: vec![("one", rates(0, 256))], ..Setup::default() }).await;
    assert_eq!(answered(&mut gateway, "one", 10, 100_000, 1).await.status, 200);
}

#[tokio::test]
async fn a_server_without_room_costs_nothing_and_a_client_that_leaves_its_prompt() {
    let mut gateway =
        Gateway::serving(Setup { keys: vec![("one", rates(0, 200))], ..Setup::default() }).await;
    let mut client = Client::asking(gateway.address, &request("one", 150, 50)).await;
    let tag = gateway.server.generate().await.tag;
    gateway.server.say(FromServer::Refused { tag }).await;
    assert_eq!(client.response().await.status, 502);
    let client = Client::asking(gateway.address, &request("one", 150, 50)).await;
    let tag = gateway.server.generate().await.tag;
    drop(client);
    assert_eq!(gateway.server.cancelled().await, tag);
    // The 50 of the answer are back, the 150 of the prompt are not.
    assert_eq!(ask(&gateway, "one", 99, 1).await.status, 429);
    assert_eq!(answered(&mut gateway, "one", 49, 1, 1).await.status, 200);
}

#[tokio::test]
async fn rules_change_while_it_runs() {
    let mut gateway = Gateway::serving(Setup { keys: vec![("one", rates(1, 0))], ..Setup::default() }).await;
    let mut running = Client::asking(gateway.address, &request("one", 1, 1)).await;
    let tag = gateway.server.generate().await.tag;
    // The key is revoked while its answer runs; the answer is finished.
    let mut keys = api_keys(&[("one", rates(1, 0)), ("two", Rates::default())]);
    keys.revoke("one").unwrap();
    let rules = |keys| AccessRules { keys: Some(keys), rates: rates(3, 0), timeouts: Timeouts::default() };
    gateway.access.replace(rules(keys));
    gateway.server.answer(tag, "").await;
    assert_eq!(running.response().await.status, 200);
    assert_eq!(ask(&gateway, "one", 1, 1).await.status, 401);
    let response = answered(&mut gateway, "two", 1, 1, 1).await;
    assert_eq!(number(&response, "x-ratelimit-limit-requests"), Some(3), "those for keys without own ones");
    // Nobody is let in where the file has no keys.
    gateway.access.replace(rules(api_keys(&[])));
    assert_eq!(ask(&gateway, "two", 1, 1).await.status, 401);
}
