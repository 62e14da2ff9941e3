//! Snapshots: everyone, where the room stands, and nothing at all for whoever knows it already.

use protocol::command::Join;
use tracing::Span;

use crate::site::{Site, TTL_MS, conns, join, json};

#[tokio::test]
async fn a_room_that_does_not_exist_was_never_born() {
    let site = Site::open().await;
    let snapshot = site.snapshot().await;
    assert_eq!((snapshot.birth, snapshot.seq, snapshot.members.len()), (0, 0, 0));
}

#[tokio::test]
async fn who_has_outlived_its_ttl_is_there_until_it_is_evicted() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1)]).await;
    let silent = site.silence("c1", TTL_MS + 1).await;
    let snapshot = site.snapshot().await;
    assert_eq!(conns(&snapshot.members), ["c1", "c2"], "members were shown it, and its leave is to come");
    assert_eq!(snapshot.members[0].last_seen_ms, silent);
    site.reap().await;
    assert_eq!(conns(&site.snapshot().await.members), ["c2"]);
}

#[tokio::test]
async fn a_room_that_stands_where_it_is_known_is_unchanged() {
    let site = Site::open().await;
    site.join(Join { state: json(r#"{"a":1}"#), ..join("c1", "ann", 1) }).await;
    let known = site.snapshot().await;
    let ask = async |birth, seq| site.store.snapshot(&Span::none(), &site.room, Some((birth, seq))).await;
    assert!(ask(known.birth, known.seq).await.unwrap().is_none());
    for (birth, seq) in [(known.birth, known.seq - 1), (known.birth - 1, known.seq), (0, 0)] {
        assert_eq!(ask(birth, seq).await.unwrap().unwrap().seq, known.seq, "known at {birth} {seq}");
    }
    site.leave("c1", 2).await;
    assert_eq!(ask(known.birth, known.seq).await.unwrap().unwrap().birth, 0, "a room that is gone is news");
}
