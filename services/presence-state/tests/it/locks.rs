//! Locks: who holds one, who is next, and what members are sent.
//!
//! - `handover`: the line. `late`: what is repeated or comes late. `ends`: with whom a lock ends. `fences`: what a fence guards.

mod ends;
mod fences;
mod handover;
mod late;
mod model;

use fred::interfaces::{HashesInterface as _, SortedSetsInterface as _};
use rollcall_protocol::{
    ChannelId, LockId,
    command::lock::{Acquire, DropAll, Held, Locked, Release, Renew, Withdraw},
    event::lock::{Change, LockEvent},
};
use tracing::Span;

use crate::site::{GATEWAY, Site};

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

/// What was published: what happened, to which lock, of whom.
fn gist(texts: &[String]) -> Vec<(Change, &str, &str)> {
    let events = texts.iter().map(|text| LockEvent::read(text).unwrap());
    events.map(|event| (event.change, event.name, event.conn)).collect()
}
