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

use super::registry::RoomHandle;

/// What one room may have waiting; beyond it all of it is dropped, and a snapshot takes its place.
const MOST_ROOM_BYTES: usize = 8 * 1024 * 1024;
/// The same for all rooms together.
const MOST_BYTES: usize = 128 * 1024 * 1024;
/// A worker turns to the next room after it has put so many bytes, or so many messages, into members' queues.
const TURN_BYTES: usize = 1024 * 1024;
const TURN_EVENTS: usize = 64;

/// What a room said, in order.
#[derive(Default)]
pub(super) struct Inbox {
    texts: VecDeque<String>,
    bytes: usize,
    /// The room waits for a worker, or has one.
    is_scheduled: bool,
    /// Something was dropped.
    has_lost: bool,
}

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
        let mut inbox = room.inbox.lock();
        inbox.texts.push_back(text.to_owned());
        inbox.bytes += text.len();
        let all = self.bytes.fetch_add(text.len(), Ordering::Relaxed) + text.len();
        if inbox.bytes > MOST_ROOM_BYTES || all > MOST_BYTES {
            self.bytes.fetch_sub(inbox.bytes, Ordering::Relaxed);
            (inbox.texts, inbox.bytes, inbox.has_lost) = (VecDeque::new(), 0, true);
        }
        if !std::mem::replace(&mut inbox.is_scheduled, true) {
            drop(inbox);
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
            let (text, has_lost) = {
                let mut inbox = room.inbox.lock();
                let has_lost = std::mem::take(&mut inbox.has_lost);
                let text = inbox.texts.pop_front();
                let bytes = text.as_ref().map_or(0, String::len);
                inbox.bytes -= bytes;
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                if text.is_none() && !has_lost {
                    inbox.is_scheduled = false;
                    // A quiet room keeps no space for what it might say.
                    inbox.texts = VecDeque::new();
                    return false;
                }
                (text, has_lost)
            };
            if has_lost {
                to.lost(room);
            }
            let Some(text) = text else { continue };
            sent_bytes += text.len() * to.deliver(room, &text);
            if sent_bytes >= TURN_BYTES {
                break;
            }
        }
        true
    }
}
