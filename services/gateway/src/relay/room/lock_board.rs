//! Locks of the channels of a room's name: sockets here that wait for one, and what members were last sent of each.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use rollcall_protocol::{
    ChannelId, ChannelType, ConnId, LockId, LockName, RoomId,
    command::lock::Held,
    event::lock::{Change, LockEvent},
};
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::{channels::any_lacks, sink::Sink, subscriber::Subscribers};
use crate::translate;

/// The most ended locks that are kept for members that lack changes. Together with the locks that are held (256) and the metadata
/// records (64) they fit a socket's queue (512), so that a client that reads is brought up to date at once.
const MOST_ENDED: usize = 128;

/// An update for a waiter. Only the latest one counts.
#[derive(Debug, Clone)]
pub(crate) enum LockUpdate {
    /// Nothing yet.
    None,
    /// The waiter holds the lock.
    Granted(Held),
    /// Another connection holds the lock now.
    Holder {
        /// When the lock expires unless it is renewed, in milliseconds of Redis' clock.
        expires_at_ms: u64,
    },
    /// Updates may have been missed: ask again.
    Unsure,
}

/// A lock in a room.
type Key = (ChannelType, LockName);

/// The locks of a room's channels.
#[derive(Default)]
pub(super) struct LockBoard {
    waiting: HashMap<Key, HashMap<ConnId, Waiter>>,
    /// Held locks as members were last sent them: fencing token and owner.
    last_sent: HashMap<Key, (u64, String)>,
    /// Locks that changed since Redis was last asked for all held locks: its answer may be older.
    changed: HashSet<Key>,
    /// Free locks that ended while a member lacked changes: the last fencing token and owner of each.
    ended: HashMap<Key, (u64, String)>,
}

/// A connection that waits for a lock.
struct Waiter {
    /// The operation that waits.
    op: u64,
    updates: watch::Sender<LockUpdate>,
}

impl LockBoard {
    /// A lock was acquired or ended. Returns whether a subscriber lacks changes. If a sync is under way, its answer may be older
    /// than the change.
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

    /// Redis is about to be asked for all held locks.
    pub(super) fn ask<S: Sink>(&mut self, subscribers: &Subscribers<S>) {
        self.changed = HashSet::new();
        if !any_lacks(subscribers) {
            self.ended = HashMap::new();
        }
    }

    /// Records locks that ended, for subscribers that lack changes.
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

    /// Takes all held locks of the room's channels, after changes may have been missed. Members are sent the differences to what
    /// they were sent before. Members that lack changes are sent the locks that ended since, and all that are held.
    pub(super) fn take_held<S: Sink>(&mut self, id: &RoomId, subscribers: &mut Subscribers<S>, held: &[Held]) {
        let key = |one: &Held| (one.lock.channel.kind.clone(), one.lock.name.clone());
        let mut now: HashMap<Key, (u64, String)> =
            held.iter().map(|one| (key(one), (one.fence, one.owner.as_str().to_owned()))).collect();
        // A change that was received since is newer than the answer, or is followed by one that is.
        for key in std::mem::take(&mut self.changed) {
            match self.last_sent.get(&key) {
                Some(last) => drop(now.insert(key, last.clone())),
                None => drop(now.remove(&key)),
            }
        }
        let before = std::mem::replace(&mut self.last_sent, now.clone());
        let is_held = |key: &Key, fence: u64| now.get(key).is_some_and(|(held, _)| *held == fence);
        let gone: Vec<_> = before.iter().filter(|(key, (fence, _))| !is_held(key, *fence)).collect();
        let new = now.iter().filter(|(key, (fence, _))| before.get(*key).is_none_or(|(last, _)| last != fence));
        let changes =
            gone.iter().copied().map(|one| (Change::Released, one)).chain(new.map(|one| (Change::Acquired, one)));
        for (change, ((kind, name), (fence, owner))) in changes {
            let message = message(id, (kind.as_str(), name.as_str()), change, owner, *fence, true);
            subscribers.values_mut().for_each(|subscriber| subscriber.send_change("lock:event", &message));
        }
        self.record_ended(subscribers, gone.into_iter().map(|(key, last)| (key.clone(), last.clone())));
        self.ended.retain(|key, _| !now.contains_key(key));
        if !any_lacks(subscribers) {
            return;
        }
        let ended = self.ended.iter().map(|(key, (fence, owner))| (Change::Released, key, fence, owner));
        let held = now.iter().map(|(key, (fence, owner))| (Change::Acquired, key, fence, owner));
        for (change, (kind, name), fence, owner) in ended.chain(held) {
            let message = message(id, (kind.as_str(), name.as_str()), change, owner, *fence, true);
            for subscriber in subscribers.values_mut().filter(|one| one.lacks_channels()) {
                subscriber.send_sync("lock:event", &message);
            }
        }
    }

    /// Adds a waiter: `conn` receives the updates of a lock for which it waits by its operation `op`. `None` if it waits already.
    pub(super) fn wait(&mut self, lock: &LockId, conn: &ConnId, op: u64) -> Option<watch::Receiver<LockUpdate>> {
        let waiters = self.waiting.entry(key(lock)).or_default();
        if waiters.contains_key(conn) {
            return None;
        }
        let (updates, receiver) = watch::channel(LockUpdate::None);
        waiters.insert(conn.clone(), Waiter { op, updates });
        Some(receiver)
    }

    /// Removes a waiter.
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
        // A grant to an earlier operation, which has given up and will release the lock, does not count.
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

    /// Has all waiters ask again.
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
