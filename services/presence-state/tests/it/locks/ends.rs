//! A lock ends with its holder, its gateway or its time.

use fred::interfaces::SortedSetsInterface as _;
use rollcall_protocol::event::lock::Change;

use super::{gist, held};
use crate::site::{GATEWAY, OTHER, Site, join};

#[tokio::test]
async fn a_lock_ends_with_the_record_of_its_holder() {
    let site = Site::open().await;
    site.join_together(&[join("a", "ann", 1), join("b", "bob", 1), join("c", "cy", 1)]).await;
    site.acquire("l", "a", 2, 0).await;
    site.acquire("l", "b", 2, 5_000).await;
    site.acquire("l", "c", 2, 5_000).await;
    site.leave("a", 3).await;
    assert_eq!(site.locks().await[0].conn.as_str(), "b");
    site.reap(&[GATEWAY]).await;
    assert!(site.locks().await.is_empty() && site.waiting().await == 0);
}

#[tokio::test]
async fn a_lost_gateways_locks_end_also_where_it_has_no_one_in_the_room() {
    let site = Site::open().await;
    site.acquire("l", "a", 1, 0).await;
    site.acquire("l", "b", 1, 5_000).await;
    site.reap(&[OTHER]).await;
    assert_eq!(site.locks().await.len(), 1);
    site.reap(&[GATEWAY]).await;
    assert!(site.all_keys().await.iter().all(|key| key.contains("revisions") || key.contains("done")));
    assert!(site.locks().await.is_empty() && site.waiting().await == 0);
}

/// Expired, and then it took a lock: its leave finds no record.
#[tokio::test]
async fn a_lock_of_a_connection_without_a_record_ends_with_its_leave() {
    let site = Site::open().await;
    site.acquire("l", "a", 3, 0).await;
    site.acquire("m", "b", 1, 0).await;
    assert_eq!(site.leave("a", 2).await, None);
    assert_eq!(site.locks().await.len(), 2, "of an earlier operation it takes nothing");
    assert_eq!(site.leave("a", 4).await, None);
    assert_eq!(site.locks().await.iter().map(|held| held.conn.as_str()).collect::<Vec<_>>(), ["b"]);
}

/// Its leave was delayed, and it joined again meanwhile.
#[tokio::test]
async fn a_leave_that_a_join_has_overtaken_ends_what_the_connection_had_before() {
    let site = Site::open().await;
    site.join_together(&[join("a", "ann", 1), join("b", "bob", 1)]).await;
    site.acquire("l", "a", 2, 0).await;
    site.acquire("m", "b", 2, 0).await;
    site.acquire("m", "a", 3, 5_000).await;
    site.join(join("a", "ann", 5)).await;
    site.acquire("n", "a", 6, 0).await;
    assert_eq!(site.leave("a", 4).await, None);
    let mut held: Vec<_> = site.locks().await.iter().map(|held| held.lock.name.as_str().to_owned()).collect();
    held.sort();
    assert_eq!(held, ["m", "n"], "what it acquired since stays");
    assert_eq!(site.waiting().await, 0);
}

#[tokio::test]
async fn the_reaper_ends_what_outlived_its_time() {
    let site = Site::open().await;
    site.join(join("m", "mia", 1)).await;
    let mut events = site.listen().await;
    let first = held(&site.acquire("l", "a", 1, 0).await).clone();
    let due = async || -> Option<u64> {
        site.redis().zscore(rollcall_keyspace::due(&site.base()), site.room.as_str()).await.unwrap()
    };
    assert_eq!(due().await, Some(first.expires_at_ms), "the room is due when the lock ends");
    site.reap(&[]).await;
    assert_eq!(site.locks().await[0].fence, first.fence, "not before");
    site.acquire("l", "b", 1, 5_000).await;
    site.outlive("l").await;
    site.reap(&[]).await;
    let received = events.texts().await;
    let (acquired, expired) = (Change::Acquired, Change::Expired);
    assert_eq!(gist(&received), [(acquired, "l", "a"), (expired, "l", "a"), (acquired, "l", "b")]);
    assert!(site.locks().await[0].fence > first.fence);
}
