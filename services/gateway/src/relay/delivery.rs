//! What rooms say, on its way to their members. The task that receives it only sorts it by room: answers to requests, which come the
//! same way, do not wait behind events. A few workers deliver it, room by room, and none stays with a loud room while others wait.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::yield_now};

use super::{inbox::Taken, registry::RoomHandle};

/// What all rooms together may have waiting; what a room has is dropped beyond it, and a snapshot takes its place.
const MOST_BYTES: usize = 128 * 1024 * 1024;
/// A worker turns to the next room after it has put so many bytes, or so many messages, into members' queues.
const TURN_BYTES: usize = 1024 * 1024;
const TURN_EVENTS: usize = 64;

/// What a worker does with a room.
pub(super) trait Deliver {
    /// Sends an event to the members of the room; says how many there are.
    fn deliver(&self, room: &Arc<RoomHandle>, text: &str) -> usize;
    /// Events of the room were dropped.
    fn lost(&self, room: &Arc<RoomHandle>);
}

/// See the module.
pub(super) struct Delivery {
    /// Rooms that wait for a worker. The semaphore has a permit for each.
    ready: Mutex<VecDeque<Arc<RoomHandle>>>,
    turns: Semaphore,
    /// Of all inboxes.
    bytes: AtomicUsize,
}

impl Delivery {
    pub(super) fn new() -> Self {
        Self { ready: Mutex::default(), turns: Semaphore::new(0), bytes: AtomicUsize::new(0) }
    }

    /// A room said something.
    pub(super) fn push(&self, room: &Arc<RoomHandle>, text: &str) {
        let all = self.bytes.fetch_add(text.len(), Ordering::Relaxed) + text.len();
        let pushed = room.inbox.lock().push(text, all <= MOST_BYTES);
        self.bytes.fetch_sub(pushed.dropped_bytes, Ordering::Relaxed);
        if pushed.needs_turn {
            self.schedule(Arc::clone(room));
        }
    }

    fn schedule(&self, room: Arc<RoomHandle>) {
        self.ready.lock().push_back(room);
        self.turns.add_permits(1);
    }

    /// What a worker does, forever.
    pub(super) async fn work(&self, to: &impl Deliver) {
        loop {
            // Closed only when the process ends.
            let Ok(turn) = self.turns.acquire().await else { return };
            turn.forget();
            let Some(room) = self.ready.lock().pop_front() else { continue };
            if self.turn(&room, to) {
                self.schedule(room);
            }
            yield_now().await;
        }
    }

    /// Delivers some of what a room said; says whether there is more.
    fn turn(&self, room: &Arc<RoomHandle>, to: &impl Deliver) -> bool {
        let mut sent_bytes = 0;
        for _ in 0..TURN_EVENTS {
            // A statement of its own: the inbox is not locked while the event is delivered.
            let taken = room.inbox.lock().take();
            match taken {
                Taken::Event(text) => {
                    self.bytes.fetch_sub(text.len(), Ordering::Relaxed);
                    sent_bytes += text.len() * to.deliver(room, &text);
                }
                Taken::Loss => to.lost(room),
                Taken::Nothing => return false,
            }
            if sent_bytes >= TURN_BYTES {
                break;
            }
        }
        true
    }
}
