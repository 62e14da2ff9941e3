//! Who has a lock, and who is next.

use rollcall_protocol::{
    command::lock::{Acquire, Locked},
    event::lock::Change,
};

use super::{LOCK_MS, gist, held};
use crate::site::{OTHER, Site};

#[tokio::test]
async fn the_next_in_line_has_it_under_a_higher_fence() {
    let site = Site::open().await;
    let mut events = site.listen().await;
    let first = held(&site.acquire("l", "a", 1, 0).await).clone();
    assert!(matches!(site.acquire("l", "b", 1, 0).await, Locked::Taken(holder) if holder == first));
    assert!(matches!(site.acquire("l", "b", 2, 5_000).await, Locked::Waits { ahead: 0, .. }));
    assert!(matches!(site.acquire("l", "c", 1, 5_000).await, Locked::Waits { ahead: 1, .. }));
    assert!(matches!(site.acquire("l", "b", 2, 4_000).await, Locked::Waits { ahead: 0, .. }), "it keeps its place");
    assert_eq!(site.release("l", "a", 2, first.fence).await, Locked::Done);
    assert_eq!(site.release("l", "a", 2, first.fence).await, Locked::Done, "sent again");
    let second = held(&site.acquire("l", "b", 2, 3_000).await).clone();
    assert_eq!((second.conn.as_str(), second.owner.as_str()), ("b", "user of b"));
    assert!(second.fence > first.fence && site.locks().await.len() == 1);
    let (acquired, released) = (Change::Acquired, Change::Released);
    let received = events.texts().await;
    assert_eq!(gist(&received), [(acquired, "l", "a"), (released, "l", "a"), (acquired, "l", "b")]);
    assert_eq!(site.renew("l", "b", first.fence).await, Locked::Lost);
    assert_eq!(held(&site.renew("l", "b", second.fence).await).fence, second.fence);
}

#[tokio::test]
async fn who_gave_up_or_waited_too_long_never_has_it() {
    let site = Site::open().await;
    let first = held(&site.acquire("l", "a", 1, 0).await).clone();
    site.acquire("l", "b", 1, 5_000).await;
    site.acquire("l", "c", 1, 1).await;
    site.acquire("l", "d", 1, 5_000).await;
    assert_eq!(site.withdraw("l", "b", 1, true).await, Locked::Withdrawn(Some(first.clone())));
    assert_eq!(site.acquire("l", "b", 1, 5_000).await, Locked::Overtaken, "what comes after that comes too late");
    site.release("l", "a", 2, first.fence).await;
    let last = site.locks().await.remove(0);
    assert_eq!(last.conn.as_str(), "d");
    // Granted meanwhile: kept, or let go.
    assert_eq!(held(&site.withdraw("l", "d", 1, true).await).fence, last.fence);
    assert_eq!(site.withdraw("l", "d", 1, false).await, Locked::Withdrawn(None));
    assert!(site.locks().await.is_empty());
}

#[tokio::test]
async fn too_many_are_refused() {
    let site = Site::open().await;
    site.acquire("l", "a", 1, 0).await;
    for n in 0..256 {
        assert!(matches!(site.acquire("l", &format!("w{n}"), 1, 5_000).await, Locked::Waits { .. }));
    }
    assert_eq!(site.acquire("l", "one more", 1, 5_000).await, Locked::Full);
    assert!(
        matches!(site.acquire("l", "one more", 2, 0).await, Locked::Taken(_)),
        "a request that does not wait is answered as before"
    );
}

/// One call ends no more than 64, because it blocks Redis; the next calls end the others.
#[tokio::test]
async fn many_locks_that_end_at_once_are_handed_over_by_several_calls() {
    const LOCKS: usize = 150;
    let site = Site::open().await;
    for n in 0..LOCKS {
        held(&site.acquire(&format!("l{n}"), "holder", n as u64 + 1, 0).await);
        let waiter = Acquire {
            lock: site.lock(&format!("l{n}")),
            user: "bob".into(),
            conn: format!("w{n}").into(),
            gateway: OTHER.into(),
            op: 1,
            ttl_ms: LOCK_MS,
            wait_ms: 10_000,
        };
        assert!(matches!(site.store.acquire(site.caller(), &waiter).await.unwrap(), Locked::Waits { .. }));
    }
    let taken = async || site.locks().await.iter().filter(|lock| lock.conn.as_str() != "holder").count();
    site.drop_locks("holder", 1_000).await;
    assert_eq!((taken().await, site.locks().await.len()), (64, 64), "the time of the others is over");
    // The reaper finds the room due.
    site.reap(&[]).await;
    assert_eq!(taken().await, 128);
    site.reap(&[]).await;
    assert_eq!(taken().await, LOCKS);
    assert!(!site.reap(&[]).await.more);
    // A gateway that is gone is reaped to the end.
    let mut calls = 1;
    while site.reap(&[OTHER]).await.more {
        calls += 1;
    }
    assert!(site.locks().await.is_empty() && calls > 2, "{calls}");
    assert!(
        site.all_keys().await.iter().all(|key| !key.contains(":rooms") && !key.ends_with(":due")),
        "nothing is left"
    );
}
