//! The locks that one socket holds or waits for, each with its interest in the lock's room. Which of them are really held
//! is for Redis to say.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use protocol::{ConnId, LockId, RoomId, command::lock::Held};
use tokio::{sync::watch, time::Instant};

use super::answer::Answer;
use crate::relay::LockSubscription;

/// See the module.
#[derive(Default)]
pub(super) struct Locks {
    held: HashMap<LockId, (Held, LockSubscription)>,
    waiting: HashMap<LockId, (LockSubscription, Arc<Wait>)>,
}

/// One wait for a lock, and everyone who is answered when it ends: a client that asks again while it waits joins its first wait.
pub(super) struct Wait {
    answers: Mutex<Vec<Answer>>,
    until: watch::Sender<Instant>,
}

/// Requests that one wait may answer; one more is refused.
const MOST_ANSWERS: usize = 64;

impl Wait {
    pub(super) fn new(answer: Answer, until: Instant) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(vec![answer]), until: watch::Sender::new(until) })
    }

    /// When it ends, which may change.
    pub(super) fn until(&self) -> watch::Receiver<Instant> {
        self.until.subscribe()
    }

    /// Another request for the lock, which waits until `until`, or, with `None`, not at all: that ends the wait for all. Gives
    /// the answer back if too many wait already.
    fn join(&self, answer: Answer, until: Option<Instant>) -> Result<(), Answer> {
        let mut answers = self.answers.lock();
        if answers.len() >= MOST_ANSWERS {
            return Err(answer);
        }
        answers.push(answer);
        self.until.send_modify(|end| *end = until.map_or_else(Instant::now, |until| until.max(*end)));
        Ok(())
    }

    /// Everyone who is to be answered, once.
    pub(super) fn answers(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.answers.lock())
    }
}

/// The time of a lock.
pub(super) enum Time {
    /// The lock is not held.
    Gone,
    /// So many milliseconds are left.
    Left(u64),
    /// It is over.
    Over,
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
    pub(super) fn wait(&mut self, lock: LockId, interest: LockSubscription, wait: Arc<Wait>) {
        self.waiting.insert(lock, (interest, wait));
    }

    /// Has a request join the wait for its lock, see [`Wait`]; gives its answer back if there is none, or it is full.
    pub(super) fn join_wait(&self, lock: &LockId, answer: Answer, until: Option<Instant>) -> Result<(), Answer> {
        match self.waiting.get(lock) {
            Some((_, wait)) => wait.join(answer, until),
            None => Err(answer),
        }
    }

    /// It waits no longer.
    pub(super) fn wait_no_more(&mut self, lock: &LockId) {
        self.waiting.remove(lock);
    }

    /// It holds a lock, or holds it longer; says whether that is new.
    pub(super) fn hold(&mut self, held: Held, interest: LockSubscription) -> bool {
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
            Some(_) => {
                self.held.remove(lock);
                Time::Over
            }
        }
    }

    /// It does not hold a lock under that fence any more.
    pub(super) fn let_go(&mut self, lock: &LockId, fence: u64) {
        if self.held.get(lock).is_some_and(|(held, _)| held.fence == fence) {
            self.held.remove(lock);
        }
    }

    /// It holds nothing and waits for nothing any more; the rooms in which it did.
    pub(super) fn drop_all(&mut self, conn: &ConnId) -> HashSet<RoomId> {
        self.waiting.iter().for_each(|(lock, (interest, _))| interest.stop_waiting(lock, conn));
        let locks = self.waiting.drain().map(|(lock, _)| lock).chain(self.held.drain().map(|(lock, _)| lock));
        locks.map(|lock| lock.channel.name).collect()
    }
}
