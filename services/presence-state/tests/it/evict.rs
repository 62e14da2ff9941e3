//! Evictions: what has outlived its TTL, and what a lost gateway held.

use fred::interfaces::{HashesInterface as _, KeysInterface as _};
use presence_state::store::Evicted;
use protocol::{
    command::Join,
    event::{Kind, Reason},
};

use crate::site::{NODE, Site, TTL_MS, conns, join};

const OTHER: &str = "presence-gateway-0000000b";

#[tokio::test]
async fn a_reap_takes_only_what_is_stale_and_says_when_to_look_again() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "ann", 1), join("c3", "bob", 1), join("c4", "bob", 1)]).await;
    site.silence("c1", TTL_MS + 1).await;
    site.silence("c3", TTL_MS * 2).await;
    let next = site.silence("c4", TTL_MS / 2).await;
    let mut events = site.listen().await;
    assert_eq!(site.reap().await, (Evicted { count: 2, remaining: 2 }, Some(next + TTL_MS)));
    let events = events.so_far().await;
    let gists: Vec<_> = events.iter().map(|event| event.gist()).collect();
    let expired = Some(Reason::Expired);
    assert_eq!(gists, [(5, Kind::Leave, "c3", expired, false), (6, Kind::Leave, "c1", expired, false)]);
    assert_eq!(conns(&site.snapshot().await.members), ["c4", "c2"]);
}

#[tokio::test]
async fn a_reap_of_the_living_changes_nothing() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let seen = site.last_seen("c1").await.unwrap();
    let mut events = site.listen().await;
    assert_eq!(site.reap().await, (Evicted { count: 0, remaining: 1 }, Some(seen + TTL_MS)));
    assert!(events.so_far().await.is_empty());
}

#[tokio::test]
async fn a_reap_of_the_last_leaves_no_key() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    site.silence("c1", TTL_MS + 1).await;
    let mut events = site.listen().await;
    assert_eq!(site.reap().await, (Evicted { count: 1, remaining: 0 }, None));
    assert_eq!(events.only().await.gist(), (2, Kind::Leave, "c1", Some(Reason::Expired), true));
    assert_eq!(site.redis().exists::<u64, _>(site.keys().into_vec()).await.unwrap(), 0);
    assert_eq!(site.reap().await, (Evicted { count: 0, remaining: 0 }, None));
}

#[tokio::test]
async fn a_large_room_is_reaped_in_parts() {
    let site = Site::open().await;
    let joins: Vec<_> = (0..250).map(|n| join(&format!("c{n}"), "ann", 1)).collect();
    site.join_together(&joins).await;
    for n in 0..250 {
        site.silence(&format!("c{n}"), TTL_MS * 2).await;
    }
    let mut events = site.listen().await;
    let (evicted, due) = site.reap().await;
    assert_eq!(evicted, Evicted { count: 200, remaining: 50 });
    assert!(due.unwrap() < site.bus.redis_now_ms(), "the rest is due at once");
    assert_eq!(site.reap().await, (Evicted { count: 50, remaining: 0 }, None));
    let edges: Vec<_> = events.so_far().await.iter().map(|event| event.read().user_edge).collect();
    assert_eq!(edges.iter().filter(|edge| **edge).count(), 1);
    assert_eq!(edges.last(), Some(&true));
}

#[tokio::test]
async fn a_lost_gateways_connections_go_and_those_of_others_stay() {
    let site = Site::open().await;
    let elsewhere = Join { node: OTHER.into(), ..join("c3", "ann", 1) };
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1), elsewhere]).await;
    let mut events = site.listen().await;
    let lease_end = site.bus.redis_now_ms() + 1_000;
    assert_eq!(site.evict_node(NODE, lease_end).await, Evicted { count: 2, remaining: 1 });
    let events = events.so_far().await;
    let mut gone: Vec<_> = events.iter().map(|event| (event.read().conn, event.read().reason)).collect();
    gone.sort_by_key(|(conn, _)| *conn);
    assert_eq!(gone, [("c1", Some(Reason::NodeLost)), ("c2", Some(Reason::NodeLost))]);
    for event in &events {
        assert_eq!(event.read().user_edge, event.read().user == "bob", "ann is still there by c3");
    }
    assert_eq!(site.evict_node(NODE, lease_end).await, Evicted { count: 0, remaining: 1 });
}

#[tokio::test]
async fn who_was_heard_of_after_the_lease_ended_is_spared() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1)]).await;
    let lease_end = site.silence("c1", 5_000).await;
    assert_eq!(site.evict_node(NODE, lease_end).await, Evicted { count: 1, remaining: 1 });
    assert_eq!(conns(&site.snapshot().await.members), ["c2"]);
}

#[tokio::test]
async fn a_lost_gateway_that_held_the_whole_room_leaves_no_key() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1)]).await;
    let lease_end = site.bus.redis_now_ms() + 1_000;
    assert_eq!(site.evict_node(NODE, lease_end).await, Evicted { count: 2, remaining: 0 });
    assert_eq!(site.redis().exists::<u64, _>(site.keys().into_vec()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_record_of_a_form_that_is_not_ours_keeps_nobody_from_being_evicted() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1), join("c3", "cyd", 1)]).await;
    for silent in ["c1", "c2"] {
        site.silence(silent, TTL_MS + 1).await;
    }
    let () = site.redis().hset(site.keys().conns, ("c1", "not ours")).await.unwrap();
    let (evicted, _) = site.reap().await;
    assert_eq!(evicted, Evicted { count: 1, remaining: 1 });
    assert_eq!(conns(&site.snapshot().await.members), ["c3"]);
}
