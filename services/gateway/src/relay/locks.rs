//! Locks of the channels of a room's name, as this gateway hears of them: sockets here that wait for one, and what members
//! were told of who holds which.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use protocol::{
    ChannelId, ChannelType, ConnId, LockId, LockName, RoomId,
    client::LockMessage,
    command::lock::Held,
    event::lock::{Change, LockEvent},
};
use serde_json::value::RawValue;
use telemetry::propagation::TraceContext;
use tokio::sync::watch;

use super::{Relay, Room, guard::Kept, room::State, seat::Sink};

/// Locks whose last end is kept for members that lack something. With the locks that are held (256) and the records of metadata
/// (64) they fit the queue of a socket (512), so that one that reads is brought up to date at once.
const MOST_ENDED: usize = 128;

/// What a waiter hears of its lock. Only the last counts.
#[derive(Debug, Clone)]
pub(crate) enum News {
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
pub(super) struct Locks {
    waiting: HashMap<Key, HashMap<ConnId, Waiter>>,
    /// What members were told of locks that are held: fence and owner.
    told: HashMap<Key, (u64, String)>,
    /// Locks that changed hands since Redis was last asked for all that are held: its answer may not know of it.
    changed: HashSet<Key>,
    /// Locks that ended while a member lacked something, and are free: the last fence and owner of each.
    ended: HashMap<Key, (u64, String)>,
}

/// Someone who waits for a lock.
struct Waiter {
    /// The operation that began to wait.
    op: u64,
    news: watch::Sender<News>,
}

impl<S: Sink> State<S> {
    /// A lock changed hands.
    pub(super) fn hear_lock(&mut self, id: &RoomId, event: &LockEvent<'_>) {
        let key = (ChannelType::from(event.kind), LockName::from(event.name));
        self.locks.tell_waiters(id, &key, event);
        if self.seats.is_empty() {
            self.locks.told = HashMap::new();
            return;
        }
        if self.is_catching_up() {
            self.locks.changed.insert(key.clone());
        }
        let ended = if event.change == Change::Acquired {
            self.locks.told.insert(key.clone(), (event.fence, event.owner.to_owned()))
        } else {
            self.locks.told.remove(&key)
        };
        self.tell_lock(&message(id, (event.kind, event.name), event.change, event.owner, event.fence, false));
        if event.change == Change::Acquired {
            self.locks.ended.remove(&key);
        } else {
            self.record_ended(ended.map(|last| (key, last)));
        }
    }

    /// All locks that are held are about to be asked for.
    pub(super) fn ask_for_locks(&mut self) {
        self.locks.changed = HashSet::new();
        if !self.somebody_lacks() {
            self.locks.ended = HashMap::new();
        }
    }

    /// These ended, and members were told so.
    fn record_ended(&mut self, ended: impl IntoIterator<Item = (Key, (u64, String))>) {
        if self.somebody_lacks() {
            self.locks.ended.extend(ended);
            while self.locks.ended.len() > MOST_ENDED {
                let oldest = self.locks.ended.iter().min_by_key(|(_, (fence, _))| *fence).map(|(key, _)| key.clone());
                oldest.map(|key| self.locks.ended.remove(&key));
            }
        }
    }

    /// Something may have been missed: these locks are held, of all channels of the name. Members are told what differs
    /// from what they were told; who lacks something is told what ended since, and all that are held.
    pub(super) fn catch_up_locks(&mut self, id: &RoomId, held: &[Held]) {
        let key = |one: &Held| (one.lock.channel.kind.clone(), one.lock.name.clone());
        let mut is: HashMap<Key, (u64, String)> =
            held.iter().map(|one| (key(one), (one.fence, one.owner.as_str().to_owned()))).collect();
        // What was heard since is later than the answer, or is followed by what is.
        for key in std::mem::take(&mut self.locks.changed) {
            match self.locks.told.get(&key) {
                Some(told) => drop(is.insert(key, told.clone())),
                None => drop(is.remove(&key)),
            }
        }
        let was = std::mem::replace(&mut self.locks.told, is.clone());
        let is_held = |key: &Key, fence: u64| is.get(key).is_some_and(|(held, _)| *held == fence);
        let gone: Vec<_> = was.iter().filter(|(key, (fence, _))| !is_held(key, *fence)).collect();
        let new = is.iter().filter(|(key, (fence, _))| was.get(*key).is_none_or(|(before, _)| before != fence));
        let told =
            gone.iter().copied().map(|one| (Change::Released, one)).chain(new.map(|one| (Change::Acquired, one)));
        for (change, ((kind, name), (fence, owner))) in told {
            self.tell_lock(&message(id, (kind.as_str(), name.as_str()), change, owner, *fence, true));
        }
        self.record_ended(gone.into_iter().map(|(key, last)| (key.clone(), last.clone())));
        self.locks.ended.retain(|key, _| !is.contains_key(key));
        if !self.somebody_lacks() {
            return;
        }
        let ended = self.locks.ended.iter().map(|(key, (fence, owner))| (Change::Released, key, fence, owner));
        let held = is.iter().map(|(key, (fence, owner))| (Change::Acquired, key, fence, owner));
        for (change, (kind, name), fence, owner) in ended.chain(held) {
            let message = message(id, (kind.as_str(), name.as_str()), change, owner, *fence, true);
            for seat in self.seats.values_mut().filter(|seat| seat.lacks_channels()) {
                seat.tell_again("lock:event", &message);
            }
        }
    }

    /// A member that does not take it is brought up to date, with the metadata.
    fn tell_lock(&mut self, message: &RawValue) {
        for seat in self.seats.values_mut() {
            seat.tell_channel("lock:event", message);
        }
    }
}

impl Locks {
    fn tell_waiters(&mut self, id: &RoomId, key: &Key, event: &LockEvent<'_>) {
        let Some(waiters) = self.waiting.get_mut(key) else { return };
        if event.change != Change::Acquired {
            return;
        }
        // A grant of an earlier operation, which gave up meanwhile and lets the lock go again, is not this one's.
        let granted = waiters.get(event.conn).is_some_and(|waiter| waiter.op == event.op);
        if let Some(waiter) = granted.then(|| waiters.remove(event.conn)).flatten() {
            let channel = ChannelId { name: id.clone(), kind: key.0.clone() };
            waiter.news.send_replace(News::Granted(Held {
                lock: LockId { channel, name: key.1.clone() },
                owner: event.owner.into(),
                conn: event.conn.into(),
                fence: event.fence,
                expires_at_ms: event.expires_at_ms,
            }));
        }
        let news = News::Holder { expires_at_ms: event.expires_at_ms };
        waiters.values().for_each(|waiter| drop(waiter.news.send_replace(news.clone())));
    }

    /// Has all who wait ask again.
    pub(super) fn doubt(&self) {
        self.waiting.values().flat_map(HashMap::values).for_each(|waiter| drop(waiter.news.send_replace(News::Unsure)));
    }
}

impl Relay {
    /// A lock of the room's name changed hands.
    pub(super) fn on_lock(&self, room: &Arc<Room>, text: &str) {
        let Some(event) = LockEvent::read(text) else {
            tracing::warn!(channel = room.channel, "dropped malformed lock event");
            return;
        };
        let (recipients, is_lacking) = {
            let mut state = room.lock();
            state.hear_lock(&room.id, &event);
            (state.seats.len(), state.somebody_lacks())
        };
        if is_lacking {
            self.catch_up(room);
        }
        if event.traceparent.is_some() {
            let span = telemetry::span::deliver(&room.channel, room.id.as_str(), recipients);
            TraceContext::read(event.traceparent, None).adopt(&span);
        }
    }
}

/// A connection's interest in a lock of a room: the room is heard as long as it lives.
#[derive(Clone)]
pub(crate) struct Interest(Arc<Kept>);

impl Interest {
    pub(super) fn new(kept: Kept) -> Self {
        Self(Arc::new(kept))
    }

    pub(super) fn room(&self) -> &Room {
        &self.0.room
    }

    /// Hears from now on what becomes of a lock for which `conn` waits by its operation `op`; `None` if it waits already.
    pub(crate) fn wait(&self, lock: &LockId, conn: &ConnId, op: u64) -> Option<watch::Receiver<News>> {
        let mut state = self.room().lock();
        let waiters = state.locks.waiting.entry(key(lock)).or_default();
        if waiters.contains_key(conn) {
            return None;
        }
        let (news, receiver) = watch::channel(News::None);
        waiters.insert(conn.clone(), Waiter { op, news });
        Some(receiver)
    }

    /// Hears no more of it.
    pub(crate) fn wait_no_more(&self, lock: &LockId, conn: &ConnId) {
        let mut state = self.room().lock();
        if let Some(waiters) = state.locks.waiting.get_mut(&key(lock)) {
            waiters.remove(conn);
            if waiters.is_empty() {
                state.locks.waiting.remove(&key(lock));
            }
        }
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
    let message = LockMessage { channel_name: id, channel_type: kind, lock_name: name, change, owner, fence, resync };
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
        let (news, heard) = watch::channel(News::None);
        let waiters = HashMap::from([(ConnId::from("c1"), Waiter { op: 5, news })]);
        let mut locks = Locks { waiting: HashMap::from([(key.clone(), waiters)]), ..Locks::default() };
        locks.tell_waiters(&room, &key, &granted(4));
        assert!(matches!(*heard.borrow(), News::Holder { expires_at_ms: 1_000 }), "{:?}", heard.borrow());
        locks.tell_waiters(&room, &key, &granted(5));
        assert!(matches!(&*heard.borrow(), News::Granted(held) if held.fence == 7), "{:?}", heard.borrow());
    }
}
