//! The commands that wait for a worker. Rooms take turns, so a room with many commands does not delay others, and one room's
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
/// How many commands of a room are taken in one turn. Adjacent joins of a room share a script call.
const TURN: usize = 32;

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
    pub(crate) async fn take(&self, most: usize) -> Vec<T> {
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

    fn take(&mut self, most: usize) -> Vec<T> {
        let mut taken = Vec::with_capacity(most.min(self.count));
        while taken.len() < most
            && let Some(room) = self.turns.pop_front()
            && let Some(lane) = self.lanes.get_mut(&room)
        {
            for (command, bytes) in lane.commands.drain(..lane.commands.len().min(TURN).min(most - taken.len())) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rooms_take_turns_and_each_keeps_its_order() {
        let queue = Queue::default();
        for n in 0..100 {
            queue.push("loud", ("loud", n), 1).unwrap();
        }
        queue.push("quiet", ("quiet", 0), 1).unwrap();
        let first = queue.take(40).await;
        assert!(first[..TURN].iter().copied().eq((0..TURN).map(|n| ("loud", n))), "{first:?}");
        assert_eq!(first[TURN..TURN + 2], [("quiet", 0), ("loud", TURN)], "the quiet room had its turn");
        let rest = queue.take(1_000).await;
        assert!(rest.iter().copied().eq((39..100).map(|n| ("loud", n))), "{rest:?}");
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
