//! Touches: when connections were last heard of, many at once.

use fred::interfaces::KeysInterface as _;
use keyspace::RoomKeys;
use protocol::command::RoomTouch;
use tracing::Span;

use crate::site::{Site, join};

#[tokio::test]
async fn a_touch_tells_whose_record_is_gone() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1)]).await;
    site.silence("c1", 30_000).await;
    site.silence("c2", 30_000).await;
    let missing = site.touch(&[("c1", 0), ("ghost", 0), ("c2", 0)]).await;
    assert_eq!(missing, ["ghost".into()]);
    assert_eq!(site.last_seen("ghost").await, None, "a touch makes no record");
}

#[tokio::test]
async fn a_touch_moves_last_seen_on_and_never_back() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let before = site.silence("c1", 30_000).await;
    assert!(site.touch(&[("c1", 20_000)]).await.is_empty());
    let after = site.last_seen("c1").await.unwrap();
    assert!(after.abs_diff(before + 10_000) < 1_000, "{before} -> {after}");
    assert!(site.touch(&[("c1", 40_000)]).await.is_empty(), "an old one is not a missing one");
    assert_eq!(site.last_seen("c1").await, Some(after));
}

#[tokio::test]
async fn rooms_travel_together_and_one_that_is_gone_spoils_none() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    site.silence("c1", 30_000).await;
    let room = |room: &str, conn: &str| RoomTouch { room: room.into(), alive: vec![(conn.into(), 0)] };
    let rooms = [room("gone", "c7"), room("lobby", "c1"), room("gone too", "c8")];
    let missing = site.store.touch(&Span::none(), &rooms).await.unwrap();
    assert_eq!(missing, ["c7".into(), "c8".into()]);
    assert!(site.last_seen("c1").await.unwrap().abs_diff(site.bus.redis_now_ms()) < 5_000);
}

#[tokio::test]
async fn a_room_whose_key_is_broken_spoils_none() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    site.silence("c1", 30_000).await;
    let () = site.redis().set(RoomKeys::of(&"broken".into()).last_seen, "text", None, None, false).await.unwrap();
    let room = |room: &str, conn: &str| RoomTouch { room: room.into(), alive: vec![(conn.into(), 0)] };
    let missing = site.store.touch(&Span::none(), &[room("broken", "c7"), room("lobby", "c1")]).await.unwrap();
    assert_eq!(missing, ["c7".into()]);
    assert!(site.last_seen("c1").await.unwrap().abs_diff(site.bus.redis_now_ms()) < 5_000);
}

#[tokio::test]
async fn more_rooms_than_a_call_takes_are_all_touched() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    site.silence("c1", 30_000).await;
    let gone = |n: usize| RoomTouch { room: format!("gone {n}").into(), alive: vec![(format!("c{n}").into(), 0)] };
    let mut rooms: Vec<_> = (0..600).map(gone).collect();
    rooms.insert(300, RoomTouch { room: "lobby".into(), alive: vec![("c1".into(), 0)] });
    assert_eq!(site.store.touch(&Span::none(), &rooms).await.unwrap().len(), 600);
    assert!(site.last_seen("c1").await.unwrap().abs_diff(site.bus.redis_now_ms()) < 5_000);
}

#[tokio::test]
async fn a_touch_publishes_nothing() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let mut events = site.listen().await;
    site.touch(&[("c1", 0)]).await;
    assert!(events.so_far().await.is_empty());
}

#[tokio::test]
async fn more_connections_of_one_room_than_a_command_takes_are_all_touched() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let ghosts: Vec<String> = (0..5_000).map(|n| format!("ghost {n}")).collect();
    let mut alive: Vec<(&str, u64)> = ghosts.iter().map(|ghost| (ghost.as_str(), 0)).collect();
    alive.push(("c1", 0));
    assert_eq!(site.touch(&alive).await.len(), 5_000);
}
