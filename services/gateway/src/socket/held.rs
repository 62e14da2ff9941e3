//! The locks that one socket holds or waits for, each with its subscription to the lock's room. Redis decides which of them are
//! really held.
//!
//! Removed entries are returned so that they are dropped outside: dropping a subscription locks its room, and this data is
//! under the session's mutex.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use rollcall_protocol::{ConnId, LockId, RoomId, command::lock::Held};
use tokio::{sync::watch, time::Instant};

use super::{ack::Ack, task::OwnedTask};
use crate::{count::Counted, relay::LockSubscription};

/// The locks of one session.
#[derive(Default)]
pub(super) struct Locks {
    held: HashMap<LockId, HeldLock>,
    waiting: HashMap<LockId, Waiting>,
}

/// A lock that is held.
pub(super) struct HeldLock {
    held: Held,
    /// Dropped with this entry. The task ends the lock when it expires.
    _guards: (LockSubscription, Counted, OwnedTask),
}

impl HeldLock {
    /// The lock and its fencing token.
    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    pub(super) fn new(held: Held, subscription: LockSubscription, count: Counted, timer: OwnedTask) -> Self {
        Self { held, _guards: (subscription, count, timer) }
    }
}

/// A lock that is waited for.
pub(super) struct Waiting {
    subscription: LockSubscription,
    wait: Arc<Wait>,
    _count: Counted,
}

impl Waiting {
    pub(super) fn new(subscription: LockSubscription, wait: Arc<Wait>, count: Counted) -> Self {
        Self { subscription, wait, _count: count }
    }
}

/// One wait for a lock, and the acknowledgements that are sent when it ends: a request for a lock that its client already waits
/// for joins that wait.
pub(super) struct Wait {
    acks: Mutex<Vec<Ack>>,
    until: watch::Sender<Instant>,
}

/// The most requests that one wait answers; further ones are rejected.
const MOST_ACKS: usize = 64;

impl Wait {
    pub(super) fn new(ack: Ack, until: Instant) -> Arc<Self> {
        Arc::new(Self { acks: Mutex::new(vec![ack]), until: watch::Sender::new(until) })
    }

    /// Its deadline, which may change.
    pub(super) fn until(&self) -> watch::Receiver<Instant> {
        self.until.subscribe()
    }

    /// Adds a request for the lock that waits until `until`. One that does not wait (`None`) ends the wait for all of them.
    /// Returns the acknowledgement if there are too many.
    fn join(&self, ack: Ack, until: Option<Instant>) -> Result<(), Ack> {
        let mut acks = self.acks.lock();
        if acks.len() >= MOST_ACKS {
            return Err(ack);
        }
        acks.push(ack);
        self.until.send_modify(|end| *end = until.map_or_else(Instant::now, |until| until.max(*end)));
        Ok(())
    }

    /// Takes all acknowledgements.
    pub(super) fn take_acks(&self) -> Vec<Ack> {
        std::mem::take(&mut *self.acks.lock())
    }
}

/// Whether a lock has expired.
pub(super) enum Expiry {
    /// The lock is not held.
    NotHeld,
    /// It expires in so many milliseconds.
    In(u64),
    /// It has expired and is not held any more.
    Expired(HeldLock),
}

impl Locks {
    pub(super) fn count(&self) -> usize {
        self.held.len() + self.waiting.len()
    }

    /// Adds a wait for a lock.
    #[must_use]
    pub(super) fn wait(&mut self, lock: LockId, waiting: Waiting) -> Option<Waiting> {
        self.waiting.insert(lock, waiting)
    }

    /// Adds a request to the wait for its lock, see [`Wait`]. Returns its acknowledgement if there is no wait, or it is full.
    pub(super) fn join_wait(&self, lock: &LockId, ack: Ack, until: Option<Instant>) -> Result<(), Ack> {
        match self.waiting.get(lock) {
            Some(Waiting { wait, .. }) => wait.join(ack, until),
            None => Err(ack),
        }
    }

    /// Removes the wait for a lock.
    #[must_use]
    pub(super) fn end_wait(&mut self, lock: &LockId) -> Option<Waiting> {
        self.waiting.remove(lock)
    }

    /// Adds a lock that is held now.
    #[must_use]
    pub(super) fn hold(&mut self, new: HeldLock) -> Option<HeldLock> {
        self.held.insert(new.held.lock.clone(), new)
    }

    /// Updates a lock that was renewed; `false` if it was not known to be held.
    pub(super) fn renew(&mut self, held: &Held) -> bool {
        let known = self.held.get_mut(&held.lock);
        known.map(|known| known.held = held.clone()).is_some()
    }

    /// Removes a lock if it has expired.
    pub(super) fn expire(&mut self, lock: &LockId, now_ms: u64) -> Expiry {
        match self.held.get(lock).map(|known| known.held.expires_at_ms) {
            Some(expires_at_ms) if expires_at_ms > now_ms => Expiry::In(expires_at_ms - now_ms),
            _ => self.held.remove(lock).map_or(Expiry::NotHeld, Expiry::Expired),
        }
    }

    /// Removes the locks in rooms that are not allowed any more, and ends the waits there.
    #[must_use]
    pub(super) fn forbid(&mut self, allows: impl Fn(&RoomId) -> bool) -> Vec<HeldLock> {
        for (_, waiting) in self.waiting.iter().filter(|(lock, _)| !allows(&lock.channel.name)) {
            waiting.wait.until.send_replace(Instant::now());
        }
        self.held.extract_if(|lock, _| !allows(&lock.channel.name)).map(|(_, held)| held).collect()
    }

    /// Removes a lock that is held under this fencing token.
    #[must_use]
    pub(super) fn release(&mut self, lock: &LockId, fence: u64) -> Option<HeldLock> {
        let is_it = self.held.get(lock).is_some_and(|known| known.held.fence == fence);
        is_it.then(|| self.held.remove(lock)).flatten()
    }
}

/// All locks that were taken from a session, which holds and waits for none any more.
pub(super) struct TakenLocks {
    pub(super) locks: Option<Box<Locks>>,
    /// The room that the session was in. Its locks and waits there end with its record.
    pub(super) own: Option<RoomId>,
    /// The session's operation that drops its locks in other rooms.
    pub(super) op: u64,
}

impl TakenLocks {
    /// Ends the waits; returns the other rooms in which there were locks or waits.
    pub(super) fn end(self, conn: &ConnId) -> HashSet<RoomId> {
        let Some(locks) = self.locks else { return HashSet::new() };
        locks.waiting.iter().for_each(|(lock, waiting)| waiting.subscription.stop_waiting(lock, conn));
        let locks = locks.waiting.into_keys().chain(locks.held.into_keys());
        locks.map(|lock| lock.channel.name).filter(|room| self.own.as_ref() != Some(room)).collect()
    }
}
