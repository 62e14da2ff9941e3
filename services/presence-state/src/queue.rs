//! The commands that wait for a worker. Rooms take turns, so a room with many commands does not delay others, and one room's
//! commands keep their order. A gateway sends one command of a connection at a time, so within a room connections take turns too.

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

/// The queue has no space.
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
    /// The commands of each room that has any, with their sizes.
    lanes: HashMap<K, VecDeque<(T, usize)>>,
    /// Those rooms, in the order of their turns.
    turns: VecDeque<K>,
    count: usize,
    bytes: usize,
}

impl<K: Hash + Eq + Clone, T> Lanes<K, T> {
    fn push(&mut self, room: K, command: T, bytes: usize) -> Result<(), Full> {
        if self.count >= MOST || self.bytes + bytes > MOST_BYTES {
            return Err(Full);
        }
        self.count += 1;
        self.bytes += bytes;
        if let Some(lane) = self.lanes.get_mut(&room) {
            lane.push_back((command, bytes));
        } else {
            self.turns.push_back(room.clone());
            self.lanes.insert(room, VecDeque::from([(command, bytes)]));
        }
        Ok(())
    }

    fn take(&mut self, most: usize) -> Vec<T> {
        let mut taken = Vec::with_capacity(most.min(self.count));
        while taken.len() < most
            && let Some(room) = self.turns.pop_front()
            && let Some(lane) = self.lanes.get_mut(&room)
        {
            for (command, bytes) in lane.drain(..lane.len().min(TURN).min(most - taken.len())) {
                self.count -= 1;
                self.bytes -= bytes;
                taken.push(command);
            }
            if lane.is_empty() {
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
        for n in 0..MOST {
            queue.push(n, n, 1).unwrap();
        }
        assert_eq!(queue.push(0, 0, 1), Err(Full));
        assert_eq!(queue.take(MOST).await.len(), MOST);
        queue.push(0, 0, MOST_BYTES).unwrap();
        assert_eq!(queue.push(1, 0, 1), Err(Full));
        queue.take(1).await;
        assert_eq!(queue.push(1, 0, 1), Ok(()), "what was taken counts no more");
    }
}
