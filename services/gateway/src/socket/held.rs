//! The locks that one socket holds or waits for, each with its interest in the lock's room. Which of them are really held
//! is for Redis to say.

use std::collections::HashMap;

use protocol::{ConnId, LockId, RoomId, command::lock::Held};

use crate::relay::Interest;

/// See the module.
#[derive(Default)]
pub(super) struct Locks {
    held: HashMap<LockId, (Held, Interest)>,
    waiting: HashMap<LockId, Interest>,
}

/// The time of a lock.
pub(super) enum Time {
    /// The lock is not held.
    Gone,
    /// So many milliseconds are left.
    Left(u64),
    /// It is over.
    Over {
        /// The gateway has nothing to do with the lock's room since.
        is_last: bool,
    },
}

impl Locks {
    pub(super) fn count(&self) -> usize {
        self.held.len() + self.waiting.len()
    }

    /// How many it holds, and how many it waits for.
    pub(super) fn numbers(&self) -> (usize, usize) {
        (self.held.len(), self.waiting.len())
    }

    /// It waits for a lock.
    pub(super) fn wait(&mut self, lock: LockId, interest: Interest) {
        self.waiting.insert(lock, interest);
    }

    /// It waits no longer.
    pub(super) fn wait_no_more(&mut self, lock: &LockId) {
        self.waiting.remove(lock);
    }

    /// It holds a lock, or holds it longer; says whether that is new.
    pub(super) fn hold(&mut self, held: Held, interest: Interest) -> bool {
        self.held.insert(held.lock.clone(), (held, interest)).is_none()
    }

    /// It holds a lock longer; `false` if that was not known to be held.
    pub(super) fn renewed(&mut self, held: &Held) -> bool {
        let known = self.held.get_mut(&held.lock);
        known.map(|(known, _)| *known = held.clone()).is_some()
    }

    /// Whether the time of a lock is over, which then is not held any more.
    pub(super) fn expire(&mut self, lock: &LockId, now_ms: u64) -> Time {
        match self.held.get(lock) {
            None => Time::Gone,
            Some((held, _)) if held.expires_at_ms > now_ms => Time::Left(held.expires_at_ms - now_ms),
            Some((held, _)) => {
                let fence = held.fence;
                Time::Over { is_last: self.let_go(lock, fence) }
            }
        }
    }

    /// It does not hold a lock under that fence any more; says whether the gateway has nothing to do with the lock's room
    /// since.
    pub(super) fn let_go(&mut self, lock: &LockId, fence: u64) -> bool {
        let is_held = self.held.get(lock).is_some_and(|(held, _)| held.fence == fence);
        is_held && self.held.remove(lock).is_some_and(|(_, interest)| interest.end())
    }

    /// It holds nothing and waits for nothing any more; the rooms that it did so in, each with whether the gateway has
    /// nothing to do with it since.
    pub(super) fn drop_all(&mut self, conn: &ConnId) -> Vec<(RoomId, bool)> {
        let mut rooms: HashMap<RoomId, Interest> = HashMap::new();
        for (lock, interest) in self.waiting.drain() {
            interest.wait_no_more(&lock, conn);
            rooms.insert(lock.channel.name, interest);
        }
        for (lock, (_, interest)) in self.held.drain() {
            rooms.insert(lock.channel.name, interest);
        }
        rooms.into_iter().map(|(room, interest)| (room, interest.end())).collect()
    }
}
