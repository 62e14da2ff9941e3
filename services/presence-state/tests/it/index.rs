//! A gateway's only trace in a room, of each kind: the index names it, so that a reaper finds it, and the room is due when it
//! ends.

use fred::interfaces::{SetsInterface as _, SortedSetsInterface as _};
use rollcall_protocol::command::lock::{Acquire, Locked};

use crate::{
    locks::{LOCK_MS, held},
    site::{GATEWAY, OTHER, Site, restored},
};

impl Site {
    /// As [`acquire`](Site::acquire), of a connection of the other gateway.
    pub(crate) async fn acquire_elsewhere(&self, name: &str, conn: &str, wait_ms: u64) -> Locked {
        let acquire = Acquire {
            lock: self.lock(name),
            user: "ann".into(),
            conn: conn.into(),
            gateway: OTHER.into(),
            op: 1,
            ttl_ms: LOCK_MS,
            wait_ms,
        };
        self.store.acquire(self.caller(), &acquire).await.unwrap()
    }

    /// Whether the index says that the gateway has something in the room.
    pub(crate) async fn indexes(&self, gateway: &str) -> bool {
        let gateway = gateway.into();
        let base = self.base();
        let rooms: Vec<String> = self.redis().smembers(rollcall_keyspace::rooms_of(&base, &gateway)).await.unwrap();
        let gateways: Vec<String> = self.redis().smembers(rollcall_keyspace::gateways(&base)).await.unwrap();
        let is_named = gateways.iter().any(|code| code == rollcall_keyspace::gateway_code(&gateway));
        assert_eq!(is_named, !rooms.is_empty(), "{gateways:?} {rooms:?}");
        rooms == [self.room.as_str()]
    }

    async fn due(&self) -> Option<u64> {
        self.redis().zscore(rollcall_keyspace::due(&self.base()), self.room.as_str()).await.unwrap()
    }
}

#[tokio::test]
async fn a_lock_alone_is_indexed_and_due() {
    let site = Site::open().await;
    let ends = held(&site.acquire_elsewhere("l", "a", 0).await).expires_at_ms;
    assert!(site.indexes(OTHER).await);
    assert_eq!(site.due().await, Some(ends));
    site.reap(&[OTHER]).await;
    assert!(site.locks().await.is_empty() && !site.indexes(OTHER).await);
    assert_eq!(site.due().await, None);
}

#[tokio::test]
async fn a_place_in_line_alone_is_indexed_and_due() {
    let site = Site::open().await;
    let lock_ends = held(&site.acquire("l", "a", 1, 0).await).expires_at_ms;
    site.acquire_elsewhere("l", "b", LOCK_MS / 2).await;
    assert!(site.indexes(OTHER).await);
    assert!(site.due().await.is_some_and(|due| due < lock_ends), "its wait ends before the lock does");
    site.reap(&[OTHER]).await;
    assert!(site.indexes(GATEWAY).await && !site.indexes(OTHER).await);
    assert_eq!(site.locks().await.len(), 1);
}

#[tokio::test]
async fn a_lock_that_was_waited_for_is_indexed() {
    let site = Site::open().await;
    let fence = held(&site.acquire("l", "a", 1, 0).await).fence;
    site.acquire_elsewhere("l", "b", LOCK_MS).await;
    site.release("l", "a", 2, fence).await;
    assert!(site.indexes(OTHER).await && !site.indexes(GATEWAY).await);
    site.reap(&[OTHER]).await;
    assert!(site.locks().await.is_empty());
}

#[tokio::test]
async fn what_is_left_when_something_ended_is_due_next() {
    let site = Site::open().await;
    let first_ends = held(&site.acquire("first", "a", 1, 0).await).expires_at_ms;
    rollcall_testkit::until("a later time", async || {
        (site.bus.redis_now_ms() + LOCK_MS > first_ends + 20).then_some(())
    })
    .await;
    let ends = held(&site.acquire("second", "b", 1, 0).await).expires_at_ms;
    assert!(ends > first_ends && site.due().await == Some(first_ends), "the first one decides");
    site.outlive("first").await;
    site.reap(&[]).await;
    assert_eq!((site.locks().await.len(), site.due().await), (1, Some(ends)));
    site.outlive("second").await;
    site.reap(&[]).await;
    assert_eq!((site.locks().await.len(), site.due().await), (0, None));
}

#[tokio::test]
async fn a_room_that_was_due_for_nothing_is_due_no_more() {
    let site = Site::open().await;
    let due = (1_000_f64, site.room.as_str());
    let () = site.redis().zadd(rollcall_keyspace::due(&site.base()), None, None, false, false, due).await.unwrap();
    site.reap(&[]).await;
    assert_eq!(site.due().await, None, "a reaper would come for it every time");
}

#[tokio::test]
async fn a_record_that_was_restored_is_indexed() {
    let site = Site::open().await;
    site.restore(OTHER, vec![restored("c1", "ann", 1, 7, "{}")]).await;
    assert!(site.indexes(OTHER).await);
    assert_eq!(site.reap(&[OTHER]).await.evicted, 1);
}
