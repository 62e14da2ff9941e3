//! Locks of the channels of a room's name, as this gateway hears of them: sockets here that wait for one, and what members
//! were told of who holds which.

use std::collections::{HashMap, HashSet};

use protocol::{
    ChannelId, ChannelType, ConnId, LockId, LockName, RoomId,
    command::lock::Held,
    event::lock::{Change, LockEvent},
};
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::{channels::any_lacks, sink::Sink, subscriber::Subscribers};
use crate::translate;

/// Locks whose last end is kept for members that lack something. With the locks that are held (256) and the records of metadata
/// (64) they fit the queue of a socket (512), so that one that reads is brought up to date at once.
const MOST_ENDED: usize = 128;

/// What a waiter hears of its lock. Only the last one counts.
#[derive(Debug, Clone)]
pub(crate) enum LockUpdate {
    /// Nothing yet.
    None,
    /// It holds the lock.
    Granted(Held),
    /// Another does now, until then unless it is renewed.
    Holder {
        /// In milliseconds of Redis' clock.
        expires_at_ms: u64,
    },
    /// Something may have been missed: ask again.
    Unsure,
}

/// A lock in a room, and who waits for it.
type Key = (ChannelType, LockName);

/// See the module.
#[derive(Default)]
pub(super) struct LockBoard {
    waiting: HashMap<Key, HashMap<ConnId, Waiter>>,
    /// What members were last sent of locks that are held: fence and owner.
    last_sent: HashMap<Key, (u64, String)>,
    /// Locks that changed hands since Redis was last asked for all that are held: its answer may not know of it.
    changed: HashSet<Key>,
    /// Locks that ended while a member lacked something, and are free: the last fence and owner of each.
    ended: HashMap<Key, (u64, String)>,
}

/// Someone who waits for a lock.
struct Waiter {
    /// The operation that began to wait.
    op: u64,
    updates: watch::Sender<LockUpdate>,
}

impl LockBoard {
    /// A lock changed hands. Says whether someone did not take it. While a sync is under way, its answer may not know of it.
    pub(super) fn hear<S: Sink>(
        &mut self,
        id: &RoomId,
        subscribers: &mut Subscribers<S>,
        event: &LockEvent<'_>,
        is_syncing: bool,
    ) -> bool {
        let key = (ChannelType::from(event.kind), LockName::from(event.name));
        self.update_waiters(id, &key, event);
        if subscribers.is_empty() {
            self.last_sent = HashMap::new();
            return false;
        }
        if is_syncing {
            self.changed.insert(key.clone());
        }
        let ended = if event.change == Change::Acquired {
            self.last_sent.insert(key.clone(), (event.fence, event.owner.to_owned()))
        } else {
            self.last_sent.remove(&key)
        };
        let message = message(id, (event.kind, event.name), event.change, event.owner, event.fence, false);
        subscribers.values_mut().for_each(|subscriber| subscriber.send_change("lock:event", &message));
        if event.change == Change::Acquired {
            self.ended.remove(&key);
        } else {
            self.record_ended(subscribers, ended.map(|last| (key, last)));
        }
        any_lacks(subscribers)
    }

    /// All locks that are held are about to be asked for.
    pub(super) fn ask<S: Sink>(&mut self, subscribers: &Subscribers<S>) {
        self.changed = HashSet::new();
        if !any_lacks(subscribers) {
            self.ended = HashMap::new();
        }
    }

    /// These ended, and members were sent that.
    fn record_ended<S: Sink>(
        &mut self,
        subscribers: &Subscribers<S>,
        ended: impl IntoIterator<Item = (Key, (u64, String))>,
    ) {
        if any_lacks(subscribers) {
            self.ended.extend(ended);
            while self.ended.len() > MOST_ENDED {
                let oldest = self.ended.iter().min_by_key(|(_, (fence, _))| *fence).map(|(key, _)| key.clone());
                oldest.map(|key| self.ended.remove(&key));
            }
        }
    }

    /// Something may have been missed: these locks are held, of all channels of the name. Members are sent what differs from
    /// what they were sent before; who lacks something is sent what ended since, and all that are held.
    pub(super) fn take_held<S: Sink>(&mut self, id: &RoomId, subscribers: &mut Subscribers<S>, held: &[Held]) {
        let key = |one: &Held| (one.lock.channel.kind.clone(), one.lock.name.clone());
        let mut is: HashMap<Key, (u64, String)> =
            held.iter().map(|one| (key(one), (one.fence, one.owner.as_str().to_owned()))).collect();
        // What was heard since is later than the answer, or is followed by what is.
        for key in std::mem::take(&mut self.changed) {
            match self.last_sent.get(&key) {
                Some(last) => drop(is.insert(key, last.clone())),
                None => drop(is.remove(&key)),
            }
        }
        let was = std::mem::replace(&mut self.last_sent, is.clone());
        let is_held = |key: &Key, fence: u64| is.get(key).is_some_and(|(held, _)| *held == fence);
        let gone: Vec<_> = was.iter().filter(|(key, (fence, _))| !is_held(key, *fence)).collect();
        let new = is.iter().filter(|(key, (fence, _))| was.get(*key).is_none_or(|(before, _)| before != fence));
        let changes =
            gone.iter().copied().map(|one| (Change::Released, one)).chain(new.map(|one| (Change::Acquired, one)));
        for (change, ((kind, name), (fence, owner))) in changes {
            let message = message(id, (kind.as_str(), name.as_str()), change, owner, *fence, true);
            subscribers.values_mut().for_each(|subscriber| subscriber.send_change("lock:event", &message));
        }
        self.record_ended(subscribers, gone.into_iter().map(|(key, last)| (key.clone(), last.clone())));
        self.ended.retain(|key, _| !is.contains_key(key));
        if !any_lacks(subscribers) {
            return;
        }
        let ended = self.ended.iter().map(|(key, (fence, owner))| (Change::Released, key, fence, owner));
        let held = is.iter().map(|(key, (fence, owner))| (Change::Acquired, key, fence, owner));
        for (change, (kind, name), fence, owner) in ended.chain(held) {
            let message = message(id, (kind.as_str(), name.as_str()), change, owner, *fence, true);
            for subscriber in subscribers.values_mut().filter(|one| one.lacks_channels()) {
                subscriber.send_sync("lock:event", &message);
            }
        }
    }

    /// From now on `conn` hears what becomes of a lock for which it waits by its operation `op`; `None` if it waits already.
    pub(super) fn wait(&mut self, lock: &LockId, conn: &ConnId, op: u64) -> Option<watch::Receiver<LockUpdate>> {
        let waiters = self.waiting.entry(key(lock)).or_default();
        if waiters.contains_key(conn) {
            return None;
        }
        let (updates, receiver) = watch::channel(LockUpdate::None);
        waiters.insert(conn.clone(), Waiter { op, updates });
        Some(receiver)
    }

    /// It hears no more of it.
    pub(super) fn stop_waiting(&mut self, lock: &LockId, conn: &ConnId) {
        let key = key(lock);
        if let Some(waiters) = self.waiting.get_mut(&key) {
            waiters.remove(conn);
            if waiters.is_empty() {
                self.waiting.remove(&key);
            }
        }
    }

    fn update_waiters(&mut self, id: &RoomId, key: &Key, event: &LockEvent<'_>) {
        let Some(waiters) = self.waiting.get_mut(key) else { return };
        if event.change != Change::Acquired {
            return;
        }
        // A grant of an earlier operation, which gave up meanwhile and lets the lock go again, is not this one's.
        let granted = waiters.get(event.conn).is_some_and(|waiter| waiter.op == event.op);
        if let Some(waiter) = granted.then(|| waiters.remove(event.conn)).flatten() {
            let channel = ChannelId { name: id.clone(), kind: key.0.clone() };
            waiter.updates.send_replace(LockUpdate::Granted(Held {
                lock: LockId { channel, name: key.1.clone() },
                owner: event.owner.into(),
                conn: event.conn.into(),
                fence: event.fence,
                expires_at_ms: event.expires_at_ms,
            }));
        }
        let update = LockUpdate::Holder { expires_at_ms: event.expires_at_ms };
        waiters.values().for_each(|waiter| drop(waiter.updates.send_replace(update.clone())));
    }

    /// Has all who wait ask again.
    pub(super) fn invalidate_waits(&self) {
        let waiters = self.waiting.values().flat_map(HashMap::values);
        waiters.for_each(|waiter| drop(waiter.updates.send_replace(LockUpdate::Unsure)));
    }
}

fn key(lock: &LockId) -> Key {
    (lock.channel.kind.clone(), lock.name.clone())
}

fn message(
    id: &RoomId,
    (kind, name): (&str, &str),
    change: Change,
    owner: &str,
    fence: u64,
    resync: bool,
) -> Box<RawValue> {
    let message = translate::message::lock(id, (kind, name), change, owner, fence, resync);
    serde_json::value::to_raw_value(&message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(op: u64) -> LockEvent<'static> {
        LockEvent {
            change: Change::Acquired,
            fence: 7,
            expires_at_ms: 1_000,
            op,
            traceparent: None,
            kind: "T",
            name: "pen",
            conn: "c1",
            owner: "ann",
        }
    }

    /// The connection gave up its first try, whose grant is still on its way, and tries again.
    #[test]
    fn a_waiter_takes_only_the_grant_of_its_own_operation() {
        let (room, key) = (RoomId::from("room"), (ChannelType::from("T"), LockName::from("pen")));
        let (updates, heard) = watch::channel(LockUpdate::None);
        let waiters = HashMap::from([(ConnId::from("c1"), Waiter { op: 5, updates })]);
        let mut locks = LockBoard { waiting: HashMap::from([(key.clone(), waiters)]), ..LockBoard::default() };
        locks.update_waiters(&room, &key, &granted(4));
        assert!(matches!(*heard.borrow(), LockUpdate::Holder { expires_at_ms: 1_000 }), "{:?}", heard.borrow());
        locks.update_waiters(&room, &key, &granted(5));
        assert!(matches!(&*heard.borrow(), LockUpdate::Granted(held) if held.fence == 7), "{:?}", heard.borrow());
    }
}
