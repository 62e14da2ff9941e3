//! Scripts that Redis has forgotten are sent again, whichever it is, and run once.

use fred::interfaces::LuaInterface as _;
use presence_state::store::{Beat, Evicted};
use protocol::{command::Heartbeat, event::Kind};

use crate::site::{NODE, Site, TTL_MS, beat, join, json};

#[tokio::test]
async fn every_script_survives_a_flush() {
    let site = Site::open().await;
    let mut events = site.listen().await;
    let forget = || async { site.redis().script_flush(false).await.unwrap() };

    forget().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1), join("c3", "cyd", 1)]).await;
    forget().await;
    let answer = site.beat(Heartbeat { state: Some(json(r#"{"a":1}"#)), ..beat("c1", 2, 1) }).await;
    assert!(matches!(answer, Beat::Taken { changed: true, .. }), "{answer:?}");
    forget().await;
    assert!(site.touch(&[("c1", 0)]).await.is_empty());
    forget().await;
    assert_eq!(site.snapshot().await.members.len(), 3);
    forget().await;
    assert_eq!(site.leave("c1", 3).await, Some(2));
    site.silence("c2", TTL_MS + 1).await;
    forget().await;
    assert_eq!(site.reap().await.0, Evicted { count: 1, remaining: 1 });
    forget().await;
    let lease_end = site.bus.redis_now_ms() + 1_000;
    assert_eq!(site.evict_node(NODE, lease_end).await, Evicted { count: 1, remaining: 0 });

    let events = events.so_far().await;
    let kinds: Vec<_> = events.iter().map(|event| event.read().kind).collect();
    assert_eq!(kinds, [Kind::Join, Kind::Join, Kind::Join, Kind::Update, Kind::Leave, Kind::Leave, Kind::Leave]);
    assert!(events.iter().zip(1..).all(|(event, seq)| event.read().seq == seq));
}
