//! What is sent twice, or comes after what was sent later.

use fred::interfaces::KeysInterface as _;
use rollcall_protocol::{
    command::lock::Locked,
    event::lock::{Change, LockEvent},
};

use super::held;
use crate::site::Site;

/// The answer to a release was lost, its client took the lock again, and the release is sent once more.
#[tokio::test]
async fn a_release_that_is_repeated_does_not_end_a_later_acquire() {
    let site = Site::open().await;
    let first = held(&site.acquire("l", "a", 1, 0).await).clone();
    let again = held(&site.acquire("l", "a", 3, 0).await).clone();
    assert_eq!(again.fence, first.fence, "the release has not come yet");
    assert_eq!(site.release("l", "a", 2, first.fence).await, Locked::Done);
    assert_eq!(site.locks().await.len(), 1, "the later acquire counts");
    assert_eq!(site.release("l", "a", 4, first.fence).await, Locked::Done);
    assert_eq!(site.locks().await.len(), 0);
}

/// It was answered `TIMEOUT`, tried again, and then its first try is withdrawn.
#[tokio::test]
async fn the_withdrawal_of_an_earlier_try_takes_nothing_from_a_later_one() {
    let site = Site::open().await;
    site.acquire("l", "a", 1, 0).await;
    let fence = held(&site.acquire("l", "a", 2, 0).await).fence;
    site.withdraw("l", "a", 1, false).await;
    assert_eq!(site.locks().await[0].fence, fence);
    site.acquire("l", "b", 1, 5_000).await;
    site.acquire("l", "b", 2, 5_000).await;
    site.withdraw("l", "b", 1, false).await;
    let mut events = site.listen().await;
    site.release("l", "a", 3, fence).await;
    let received = events.texts().await;
    let granted = LockEvent::read(received.last().unwrap()).unwrap();
    assert_eq!((granted.change, granted.conn, granted.op), (Change::Acquired, "b", 2));
}

#[tokio::test]
async fn what_a_connection_did_is_remembered_for_longer_than_anyone_repeats_it() {
    let site = Site::open().await;
    site.acquire("l", "a", 1, 0).await;
    let left: i64 = site.redis().pttl(rollcall_keyspace::done(&site.base(), &site.room, &"a".into())).await.unwrap();
    assert!((20_000..=30_000).contains(&left), "{left}");
}

#[tokio::test]
async fn what_asks_for_a_lock_and_comes_after_its_own_withdrawal_takes_nothing() {
    let site = Site::open().await;
    site.withdraw("l", "a", 2, false).await;
    assert!(matches!(site.acquire("l", "a", 2, 5_000).await, Locked::Overtaken));
    assert!(site.locks().await.is_empty());
    assert!(matches!(site.acquire("l", "a", 3, 0).await, Locked::Held(_)), "a later one does");
}

#[tokio::test]
async fn a_withdrawal_that_comes_late_takes_nothing_from_a_later_wait() {
    let site = Site::open().await;
    let first = held(&site.acquire("l", "a", 1, 0).await).clone();
    site.acquire("l", "b", 2, 5_000).await;
    site.withdraw("l", "b", 1, false).await;
    site.release("l", "a", 2, first.fence).await;
    assert_eq!(site.locks().await[0].conn.as_str(), "b");
    site.withdraw("l", "b", 1, false).await;
    assert_eq!(site.locks().await[0].conn.as_str(), "b", "nor the lock");
}
