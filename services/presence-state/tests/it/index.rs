//! The indexes beside the rooms: when a room is due for a look, and where a gateway has connections.

use fred::interfaces::{SetsInterface as _, SortedSetsInterface as _};
use keyspace::{due, node_rooms};
use tracing::Span;

use crate::site::{NODE, Site, TTL_MS};

async fn due_ms(site: &Site) -> Option<u64> {
    let score: Option<f64> = site.redis().zscore(due(&site.room), site.room.as_str()).await.unwrap();
    score.map(|score| score as u64)
}

async fn rooms_of_node(site: &Site) -> Vec<String> {
    site.redis().smembers(node_rooms(&NODE.into())).await.unwrap()
}

#[tokio::test]
async fn a_room_that_was_entered_is_due_when_its_first_can_be_stale() {
    let site = Site::open().await;
    site.store.entered(&Span::none(), &site.room, &NODE.into()).await;
    let first = due_ms(&site).await.unwrap();
    assert!(first.abs_diff(site.bus.redis_now_ms() + TTL_MS) < 5_000);
    assert_eq!(rooms_of_node(&site).await, ["lobby"]);
    site.store.due(&site.room, first - 9_000).await;
    site.store.entered(&Span::none(), &site.room, &"presence-gateway-0000000b".into()).await;
    assert_eq!(due_ms(&site).await, Some(first - 9_000), "who comes later does not put it off");
}

#[tokio::test]
async fn an_empty_room_is_never_due() {
    let site = Site::open().await;
    site.store.entered(&Span::none(), &site.room, &NODE.into()).await;
    site.store.emptied(&site.room).await;
    assert_eq!(due_ms(&site).await, None);
    site.store.due(&site.room, 1).await;
    assert_eq!(due_ms(&site).await, None, "a late answer of the reaper does not bring it back");
}

#[tokio::test]
async fn a_gateway_that_left_is_entered_again_by_its_next_touch() {
    let site = Site::open().await;
    let node = NODE.into();
    site.store.refresh(&Span::none(), &site.room, &node).await;
    site.store.node_left(&site.room, &node).await;
    assert!(rooms_of_node(&site).await.is_empty());
    site.store.refresh(&Span::none(), &site.room, &node).await;
    assert_eq!(rooms_of_node(&site).await, ["lobby"]);
    assert!(due_ms(&site).await.is_some());
}
