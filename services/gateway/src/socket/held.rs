//! The locks that one socket holds or waits for, each with its interest in the lock's room. Redis decides which of them are
//! really held.
//!
//! What is removed is returned: an interest that ends takes the lock of its room, and this is data under the session's.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use protocol::{ConnId, LockId, RoomId, command::lock::Held};
use tokio::{sync::watch, time::Instant};

use super::{ack::Ack, count::Counted, task::OwnedTask};
use crate::relay::LockSubscription;

/// See the module.
#[derive(Default)]
pub(super) struct Locks {
    held: HashMap<LockId, HeldLock>,
    waiting: HashMap<LockId, Waiting>,
}

/// A lock that is held.
pub(super) struct HeldLock {
    held: Held,
    /// The last one reports the lock when its time is over. They end with this entry.
    _guards: (LockSubscription, Counted, OwnedTask),
}

impl HeldLock {
    pub(super) fn new(held: Held, interest: LockSubscription, count: Counted, timer: OwnedTask) -> Self {
        Self { held, _guards: (interest, count, timer) }
    }
}

/// A lock that is waited for.
pub(super) struct Waiting {
    interest: LockSubscription,
    wait: Arc<Wait>,
    _count: Counted,
}

impl Waiting {
    pub(super) fn new(interest: LockSubscription, wait: Arc<Wait>, count: Counted) -> Self {
        Self { interest, wait, _count: count }
    }
}

/// One wait for a lock, and everyone who is answered when it ends: a client that asks again while it waits joins its first wait.
pub(super) struct Wait {
    acks: Mutex<Vec<Ack>>,
    until: watch::Sender<Instant>,
}

/// Requests that one wait may answer; one more is refused.
const MOST_ACKS: usize = 64;

impl Wait {
    pub(super) fn new(ack: Ack, until: Instant) -> Arc<Self> {
        Arc::new(Self { acks: Mutex::new(vec![ack]), until: watch::Sender::new(until) })
    }

    /// When it ends, which may change.
    pub(super) fn until(&self) -> watch::Receiver<Instant> {
        self.until.subscribe()
    }

    /// Another request for the lock, which waits until `until`, or, with `None`, not at all: that ends the wait for all. Gives
    /// the acknowledgement back if too many wait already.
    fn join(&self, ack: Ack, until: Option<Instant>) -> Result<(), Ack> {
        let mut acks = self.acks.lock();
        if acks.len() >= MOST_ACKS {
            return Err(ack);
        }
        acks.push(ack);
        self.until.send_modify(|end| *end = until.map_or_else(Instant::now, |until| until.max(*end)));
        Ok(())
    }

    /// Everyone who is to be answered, once.
    pub(super) fn acks(&self) -> Vec<Ack> {
        std::mem::take(&mut *self.acks.lock())
    }
}

/// The time of a lock.
pub(super) enum Time {
    /// The lock is not held.
    Gone,
    /// So many milliseconds are left.
    Left(u64),
    /// It is over, and the lock is not held any more.
    Over(HeldLock),
}

impl Locks {
    pub(super) fn count(&self) -> usize {
        self.held.len() + self.waiting.len()
    }

    /// It waits for a lock.
    #[must_use]
    pub(super) fn wait(&mut self, lock: LockId, waiting: Waiting) -> Option<Waiting> {
        self.waiting.insert(lock, waiting)
    }

    /// Has a request join the wait for its lock, see [`Wait`]; gives its acknowledgement back if there is none, or it is full.
    pub(super) fn join_wait(&self, lock: &LockId, ack: Ack, until: Option<Instant>) -> Result<(), Ack> {
        match self.waiting.get(lock) {
            Some(Waiting { wait, .. }) => wait.join(ack, until),
            None => Err(ack),
        }
    }

    /// It waits no longer.
    #[must_use]
    pub(super) fn wait_no_more(&mut self, lock: &LockId) -> Option<Waiting> {
        self.waiting.remove(lock)
    }

    /// It holds a lock.
    #[must_use]
    pub(super) fn hold(&mut self, new: HeldLock) -> Option<HeldLock> {
        self.held.insert(new.held.lock.clone(), new)
    }

    /// It holds a lock longer; `false` if that was not known to be held.
    pub(super) fn renew(&mut self, held: &Held) -> bool {
        let known = self.held.get_mut(&held.lock);
        known.map(|known| known.held = held.clone()).is_some()
    }

    /// Whether the time of a lock is over.
    pub(super) fn expire(&mut self, lock: &LockId, now_ms: u64) -> Time {
        match self.held.get(lock).map(|known| known.held.expires_at_ms) {
            Some(expires_at_ms) if expires_at_ms > now_ms => Time::Left(expires_at_ms - now_ms),
            _ => self.held.remove(lock).map_or(Time::Gone, Time::Over),
        }
    }

    /// It does not hold a lock under that fence any more.
    #[must_use]
    pub(super) fn let_go(&mut self, lock: &LockId, fence: u64) -> Option<HeldLock> {
        let is_it = self.held.get(lock).is_some_and(|known| known.held.fence == fence);
        is_it.then(|| self.held.remove(lock)).flatten()
    }
}

/// All locks of a session, taken from it: it holds nothing and waits for nothing any more.
pub(super) struct Taken {
    pub(super) locks: Option<Box<Locks>>,
    /// The room that the session was in: what it had there ends with its record.
    pub(super) own: Option<RoomId>,
    /// The session's operation that gives up the locks of other rooms.
    pub(super) op: u64,
}

impl Taken {
    /// Ends the waits; says in which other rooms there were locks.
    pub(super) fn end(self, conn: &ConnId) -> HashSet<RoomId> {
        let Some(locks) = self.locks else { return HashSet::new() };
        locks.waiting.iter().for_each(|(lock, waiting)| waiting.interest.stop_waiting(lock, conn));
        let locks = locks.waiting.into_keys().chain(locks.held.into_keys());
        locks.map(|lock| lock.channel.name).filter(|room| self.own.as_ref() != Some(room)).collect()
    }
}
