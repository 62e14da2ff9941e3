//! The commands that wait for a worker. Rooms take turns, one in each batch: a worker begins the next batch when all of the last one is
//! done, and a room's calls are made one after the other. So a room with many commands delays others by one turn, and one room's
//! commands keep their order. A gateway sends one command of a connection at a time, so within a room connections take turns too.
//! A room may have as many commands waiting as there is still space for, so it fills at most half of the queue, and when space is
//! short the rooms with the most are refused first (dynamic thresholds: Choudhury and Hahne, 1998).

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The most commands that may wait for one worker.
const MOST: usize = 8_192;
/// The most bytes of them.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// The calls of a room's turn, about 1 ms each. Without a bound 256 leaves of one room held up all others for 250 ms.
const TURN: usize = 16;

/// A command that waits.
pub(crate) trait Waits {
    /// Whether it is certain to share a call with the command before it in its room.
    fn shares_call(&self, before: &Self) -> bool;
}

/// A bounded queue of commands, by room.
pub(crate) struct Queue<K, T> {
    waiting: Mutex<Lanes<K, T>>,
    added: Notify,
}

/// The queue has no space for more of this room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<K: Hash + Eq + Clone, T> Default for Queue<K, T> {
    fn default() -> Self {
        let waiting = Lanes { lanes: HashMap::new(), turns: VecDeque::new(), count: 0, bytes: 0 };
        Self { waiting: Mutex::new(waiting), added: Notify::new() }
    }
}

impl<K: Hash + Eq + Clone, T> Queue<K, T> {
    /// Adds a command of so many bytes.
    pub(crate) fn push(&self, room: K, command: T, bytes: usize) -> Result<(), Full> {
        self.waiting.lock().push(room, command, bytes)?;
        self.added.notify_one();
        Ok(())
    }

    /// Takes at most so many commands, at least one; waits for it. One task may wait at a time.
    pub(crate) async fn take(&self, most: usize) -> Vec<T>
    where
        T: Waits,
    {
        loop {
            let taken = self.waiting.lock().take(most);
            if !taken.is_empty() {
                return taken;
            }
            self.added.notified().await;
        }
    }
}

struct Lanes<K, T> {
    /// The rooms that have commands.
    lanes: HashMap<K, Lane<T>>,
    /// Those rooms, in the order of their turns.
    turns: VecDeque<K>,
    count: usize,
    bytes: usize,
}

struct Lane<T> {
    /// With their sizes.
    commands: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<K: Hash + Eq + Clone, T> Lanes<K, T> {
    fn push(&mut self, room: K, command: T, bytes: usize) -> Result<(), Full> {
        let (count, of_room) = self.lanes.get(&room).map_or((0, 0), |lane| (lane.commands.len(), lane.bytes));
        if self.count + 1 + count >= MOST || self.bytes + bytes + of_room + bytes > MOST_BYTES {
            return Err(Full);
        }
        self.count += 1;
        self.bytes += bytes;
        let lane = self.lanes.entry(room).or_insert_with_key(|room| {
            self.turns.push_back(room.clone());
            Lane { commands: VecDeque::new(), bytes: 0 }
        });
        lane.commands.push_back((command, bytes));
        lane.bytes += bytes;
        Ok(())
    }

    fn take(&mut self, most: usize) -> Vec<T>
    where
        T: Waits,
    {
        let mut taken = Vec::with_capacity(most.min(self.count));
        for _ in 0..self.turns.len() {
            if taken.len() >= most {
                break;
            }
            let Some(room) = self.turns.pop_front() else { break };
            let Some(lane) = self.lanes.get_mut(&room) else { continue };
            for (command, bytes) in lane.commands.drain(..lane.turn(most - taken.len())) {
                self.count -= 1;
                self.bytes -= bytes;
                lane.bytes -= bytes;
                taken.push(command);
            }
            if lane.commands.is_empty() {
                self.lanes.remove(&room);
            } else {
                self.turns.push_back(room);
            }
        }
        taken
    }
}

impl<T: Waits> Lane<T> {
    /// How many commands its turn takes, `most` at most.
    fn turn(&self, most: usize) -> usize {
        let mut calls = 0;
        let begins_call = |at: usize| {
            let before = at.checked_sub(1).and_then(|at| self.commands.get(at)).zip(self.commands.get(at));
            !before.is_some_and(|((before, _), (command, _))| command.shares_call(before))
        };
        let is_over = |at: &usize| {
            calls += usize::from(begins_call(*at));
            calls > TURN
        };
        let most = most.min(self.commands.len());
        (0..most).find(is_over).unwrap_or(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Waits for i32 {
        fn shares_call(&self, _: &Self) -> bool {
            false
        }
    }

    /// A room, and a command of a kind: those called `join` share a call.
    impl Waits for (&str, usize) {
        fn shares_call(&self, before: &Self) -> bool {
            (self.0, before.0) == ("join", "join")
        }
    }

    #[tokio::test]
    async fn a_room_has_one_turn_in_a_batch_of_so_many_calls() {
        let queue = Queue::default();
        for n in 0..100 {
            queue.push("crowd", ("join", n), 1).unwrap();
            queue.push("loud", ("leave", n), 1).unwrap();
        }
        for n in 100..200 {
            queue.push("crowd", ("leave", n), 1).unwrap();
        }
        let [joins, leaves] = [queue.take(512).await, queue.take(512).await].map(|batch| {
            let of = |kind| batch.iter().filter(|(of, _)| *of == kind).count();
            (of("join"), of("leave"))
        });
        assert_eq!(joins, (100, TURN - 1 + TURN), "all joins are one call");
        assert_eq!(leaves, (0, 2 * TURN));
    }

    #[tokio::test]
    async fn rooms_take_turns_and_each_keeps_its_order() {
        let queue = Queue::default();
        for n in 0..100 {
            queue.push("loud", ("loud", n), 1).unwrap();
        }
        queue.push("quiet", ("quiet", 0), 1).unwrap();
        let first = queue.take(40).await;
        assert!(first[..TURN].iter().copied().eq((0..TURN).map(|n| ("loud", n))), "{first:?}");
        assert_eq!(first[TURN..], [("quiet", 0)], "the quiet room had its turn");
        let mut rest = Vec::new();
        while rest.len() < 100 - TURN {
            rest.extend(queue.take(1_000).await);
        }
        assert!(rest.iter().copied().eq((TURN..100).map(|n| ("loud", n))), "{rest:?}");
        assert!(queue.waiting.lock().lanes.is_empty() && queue.waiting.lock().turns.is_empty());
    }

    #[tokio::test]
    async fn commands_and_their_bytes_are_bounded() {
        let queue = Queue::default();
        let rooms = (0..).take_while(|n| queue.push(*n, *n, 1).is_ok()).count();
        assert_eq!(rooms, MOST - 1);
        assert_eq!(queue.take(MOST).await.len(), rooms);
        let full = (0..).take_while(|n| queue.push(*n, *n, MOST_BYTES / 8).is_ok()).count();
        assert_eq!(full, 7);
        assert_eq!(queue.push(7, 0, MOST_BYTES / 8), Err(Full));
        queue.take(1).await;
        assert_eq!(queue.push(7, 0, MOST_BYTES / 8), Ok(()), "what was taken counts no more");
    }

    #[tokio::test]
    async fn a_room_fills_at_most_half_of_it() {
        for bytes in [1, MOST_BYTES / 1_024] {
            let queue = Queue::default();
            let loud = (0..).take_while(|n| queue.push("loud", *n, bytes).is_ok()).count();
            assert!(loud == MOST / 2 || loud * bytes == MOST_BYTES / 2, "{loud} of {bytes}");
            assert_eq!(queue.push("quiet", 0, bytes), Ok(()));
            assert_eq!(queue.push("loud", 0, bytes), Err(Full), "the largest is refused first");
        }
    }

    /// As after an outage of Redis, when every gateway restores its members.
    #[tokio::test]
    async fn restores_of_many_rooms_leave_space_for_ordinary_commands() {
        const RESTORE: usize = 2 * 1024 * 1024;
        let queue = Queue::default();
        let restores = (0..64).filter(|room| queue.push(*room, 0, RESTORE).is_ok()).count();
        assert!((1..=7).contains(&restores), "{restores}");
        let others = (64..1_064).filter(|room| queue.push(*room, 0, 1_024).is_ok()).count();
        assert_eq!(others, 1_000);
    }
}
