//! Locks: who has one, who is next, what is told, once and twice.

mod model;

use fred::interfaces::{HashesInterface as _, KeysInterface as _, SortedSetsInterface as _};
use rollcall_presence_state::store::Written;
use rollcall_protocol::{
    ChannelId, LockId,
    command::{
        lock::{Acquire, DropAll, Held, Locked, Release, Renew, Withdraw},
        metadata::{Act, Rejection},
    },
    event::lock::{Change, LockEvent},
};
use tracing::Span;

use crate::{
    metadata::{change, item},
    site::{GATEWAY, OTHER, Site, join},
};

pub(crate) const LOCK_MS: u64 = 10_000;

impl Site {
    pub(crate) fn lock(&self, name: &str) -> LockId {
        LockId { channel: ChannelId { name: self.room.clone(), kind: "T".into() }, name: name.into() }
    }

    pub(crate) async fn acquire(&self, name: &str, conn: &str, op: u64, wait_ms: u64) -> Locked {
        let acquire = Acquire {
            lock: self.lock(name),
            user: format!("user of {conn}").into(),
            conn: conn.into(),
            gateway: GATEWAY.into(),
            op,
            ttl_ms: LOCK_MS,
            wait_ms,
        };
        self.store.acquire(self.caller(), &acquire).await.unwrap()
    }

    pub(crate) async fn renew(&self, name: &str, conn: &str, fence: u64) -> Locked {
        let renew = Renew { lock: self.lock(name), conn: conn.into(), fence, ttl_ms: LOCK_MS };
        self.store.renew(self.caller(), &renew).await.unwrap()
    }

    pub(crate) async fn release(&self, name: &str, conn: &str, op: u64, fence: u64) -> Locked {
        let release = Release { lock: self.lock(name), conn: conn.into(), op, fence };
        self.store.release(self.caller(), &release).await.unwrap()
    }

    pub(crate) async fn withdraw(&self, name: &str, conn: &str, op: u64, keep: bool) -> Locked {
        let withdraw = Withdraw { lock: self.lock(name), conn: conn.into(), op, keep };
        self.store.withdraw(self.caller(), &withdraw).await.unwrap()
    }

    pub(crate) async fn drop_locks(&self, conn: &str, op: u64) {
        let drop = DropAll { room: self.room.clone(), conn: conn.into(), op };
        self.store.drop_locks(self.caller(), &drop).await.unwrap();
    }

    pub(crate) async fn expire_locks(&self) {
        self.store.expire_locks(self.caller(), &self.room).await.unwrap();
    }

    /// Makes it so that the lock's time is over.
    pub(crate) async fn outlive(&self, name: &str) {
        let (key, field) = (rollcall_keyspace::locks(&self.base(), &self.room), format!("T\n{name}"));
        let stored: Option<String> = self.redis().hget(&key, &field).await.unwrap();
        let Some(stored) = stored else { return };
        let mut head = stored.splitn(3, ' ');
        let (fence, _, rest) = (head.next().unwrap(), head.next().unwrap(), head.next().unwrap());
        let () = self.redis().hset(key, (field, format!("{fence} 1000 {rest}"))).await.unwrap();
        let due = (1000_f64, self.room.as_str());
        let () = self.redis().zadd(rollcall_keyspace::due(&self.base()), None, None, false, false, due).await.unwrap();
    }

    pub(crate) async fn locks(&self) -> Vec<Held> {
        self.store.locks(&Span::none(), &self.room, None, None).await.unwrap()
    }

    async fn waiting(&self) -> u64 {
        self.redis().zcard(rollcall_keyspace::waiters(&self.base(), &self.room)).await.unwrap()
    }
}

pub(crate) fn held(locked: &Locked) -> &Held {
    match locked {
        Locked::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

/// What was told: what happened, to which lock, of whom.
fn gist(texts: &[String]) -> Vec<(Change, &str, &str)> {
    let events = texts.iter().map(|text| LockEvent::read(text).unwrap());
    events.map(|event| (event.change, event.name, event.conn)).collect()
}

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
    let told = events.texts().await;
    assert_eq!(gist(&told), [(acquired, "l", "a"), (released, "l", "a"), (acquired, "l", "b")]);
    assert_eq!(site.renew("l", "b", first.fence).await, Locked::Lost);
    assert_eq!(held(&site.renew("l", "b", second.fence).await).fence, second.fence);
}

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
    let told = events.texts().await;
    let granted = LockEvent::read(told.last().unwrap()).unwrap();
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
async fn a_lost_gateways_locks_end_also_where_it_has_nobody_in_the_room() {
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
    let told = events.texts().await;
    let (acquired, expired) = (Change::Acquired, Change::Expired);
    assert_eq!(gist(&told), [(acquired, "l", "a"), (expired, "l", "a"), (acquired, "l", "b")]);
    assert!(site.locks().await[0].fence > first.fence);
}

#[tokio::test]
async fn a_guarded_write_is_its_holders_alone() {
    let site = Site::open().await;
    let write = |conn: &str, op, fence| {
        let mut change = change(conn, op, vec![item("k", Some("1"), None)]);
        change.options.lock = Some("l".into());
        change.options.fence = fence;
        Act::Set(change)
    };
    let is_refused = async |act: Act| matches!(site.write("T", &act).await, Written::Rejected(Rejection::Lock));
    assert!(is_refused(write("a", 1, None)).await);
    let fence = held(&site.acquire("l", "a", 2, 0).await).fence;
    assert!(!is_refused(write("a", 3, None)).await && !is_refused(write("a", 4, Some(fence))).await);
    assert!(is_refused(write("a", 5, Some(fence - 1))).await && is_refused(write("b", 1, Some(fence))).await);
    site.outlive("l").await;
    assert!(is_refused(write("a", 6, Some(fence))).await, "its time is over, whether somebody noticed or not");
}

#[tokio::test]
async fn fences_grow_where_they_were_forgotten() {
    let site = Site::open().await;
    let first = held(&site.acquire("l", "a", 1, 0).await).fence;
    site.acquire("l", "b", 1, 5_000).await;
    let base = site.base();
    let keys = [
        rollcall_keyspace::locks(&base, &site.room),
        rollcall_keyspace::waiters(&base, &site.room),
        rollcall_keyspace::revisions(&base, &site.room),
    ];
    let left: i64 = site.redis().pttl(&keys[2]).await.unwrap();
    assert!(left > 0, "the last fence would stay: {left}");
    let () = site.redis().del(keys.to_vec()).await.unwrap();
    assert!(held(&site.acquire("l", "c", 1, 0).await).fence > first);
}

#[tokio::test]
async fn too_many_are_refused() {
    let site = Site::open().await;
    site.acquire("l", "a", 1, 0).await;
    for n in 0..256 {
        assert!(matches!(site.acquire("l", &format!("w{n}"), 1, 5_000).await, Locked::Waits { .. }));
    }
    assert_eq!(site.acquire("l", "one more", 1, 5_000).await, Locked::Full);
    assert!(matches!(site.acquire("l", "one more", 2, 0).await, Locked::Taken(_)), "who does not wait is told as ever");
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
