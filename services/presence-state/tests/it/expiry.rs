//! Everything in Redis runs out by itself: nothing is left behind even if every reaper is dead.

use std::sync::Arc;

use fred::{
    cmd,
    interfaces::{ClientLike as _, KeysInterface as _},
};
use presence_state::store::Store;
use protocol::command::Heartbeat;
use telemetry::propagation::TraceContext;
use testkit::until;
use tracing::Span;

use crate::site::{NODE, Site, TTL_MS, beat, join, json};

const EXPIRY_MS: i64 = 4 * TTL_MS as i64;

/// Every key but the directory's, with how long it lives on.
async fn lives(site: &Site) -> Vec<(String, i64)> {
    let mut keys: Vec<String> = site.redis().custom(cmd!("KEYS"), vec!["*"]).await.unwrap();
    keys.retain(|key| !key.starts_with("prs:{directory}:"));
    keys.sort();
    let mut lives = Vec::new();
    for key in keys {
        let life = site.redis().pttl(&key).await.unwrap();
        lives.push((key, life));
    }
    lives
}

async fn assert_all_run_out(site: &Site, when: &str) {
    let lives = lives(site).await;
    assert_eq!(lives.len(), 6, "{when}: {lives:?}");
    for (key, life) in lives {
        assert!((EXPIRY_MS - 10_000..=EXPIRY_MS).contains(&life), "{when}: {key} lives {life} ms");
    }
}

#[tokio::test]
async fn every_key_runs_out_whatever_happened_in_the_room() {
    let site = Site::open().await;
    let node = NODE.into();
    site.store.entered(&Span::none(), &site.room, &node).await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1), join("c3", "cyd", 1)]).await;
    assert_all_run_out(&site, "after a join").await;
    site.beat(Heartbeat { state: Some(json(r#"{"a":1}"#)), ..beat("c1", 2, 1) }).await;
    site.touch(&[("c1", 0)]).await;
    site.leave("c2", 2).await;
    site.silence("c3", TTL_MS + 1).await;
    site.reap().await;
    assert_all_run_out(&site, "after the rest").await;
}

#[tokio::test]
async fn a_living_room_is_put_off() {
    let site = Site::open().await;
    let node = NODE.into();
    site.store.entered(&Span::none(), &site.room, &node).await;
    site.join(join("c1", "ann", 1)).await;
    for (key, _) in lives(&site).await {
        let () = site.redis().pexpire(key, 10_000, None).await.unwrap();
    }
    site.store.refresh(&Span::none(), &site.room, &node).await;
    assert_all_run_out(&site, "after a refresh").await;
}

#[tokio::test]
async fn an_abandoned_room_is_gone_in_the_end() {
    let site = Site::open().await;
    let store = Store::new(Arc::clone(&site.bus), 50, 50);
    let node = NODE.into();
    store.entered(&Span::none(), &site.room, &node).await;
    let one = join("c1", "ann", 1);
    store.join(&Span::none(), &site.room, &[(&one, TraceContext::default())]).await.unwrap();
    until("every key has run out", async || lives(&site).await.is_empty().then_some(())).await;
}
