//! Scripts that Redis has forgotten are sent again, whichever it is, and run once.

use fred::interfaces::LuaInterface as _;
use rollcall_presence_state::store::Beat;
use rollcall_protocol::{command::Heartbeat, event::Kind};

use crate::site::{GATEWAY, Site, beat, join, json};

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
    assert_eq!(site.snapshot().await.members.len(), 3);
    forget().await;
    assert_eq!(site.leave("c1", 3).await, Some(2));
    forget().await;
    assert_eq!(site.evict(&["presence-gateway-00000000"]).await, 0);
    forget().await;
    assert_eq!(site.reap(&[GATEWAY]).await.evicted, 2);

    let events = events.so_far().await;
    let kinds: Vec<_> = events.iter().map(|event| event.read().kind).collect();
    assert_eq!(kinds, [Kind::Join, Kind::Join, Kind::Join, Kind::Update, Kind::Leave, Kind::Leave, Kind::Leave]);
    assert!(events.iter().zip(1..).all(|(event, seq)| event.read().at.seq == seq));
}
