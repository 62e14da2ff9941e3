//! Delivers room events to members. The task that receives from Redis only sorts events by room, so that answers to requests,
//! which come the same way, do not wait behind events. A few workers deliver the events in turns, so that a busy room does not
//! keep a worker while others wait.

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

/// The most bytes that wait in the inboxes of all rooms. Beyond it, a room's events are dropped and replaced by a snapshot.
const MOST_BYTES: usize = 128 * 1024 * 1024;
/// A turn ends when a worker has put this many bytes into members' queues, or has delivered this many events.
const TURN_BYTES: usize = 1024 * 1024;
const TURN_EVENTS: usize = 64;

/// What a worker does with the events of a room.
pub(super) trait Deliver {
    /// Sends an event to the members of the room; returns their number.
    fn deliver(&self, room: &Arc<RoomHandle>, text: &str) -> usize;
    /// Events of the room were dropped.
    fn lost(&self, room: &Arc<RoomHandle>);
}

/// The rooms whose events wait to be delivered.
pub(super) struct Delivery {
    /// Rooms that wait for a worker. The semaphore has a permit for each.
    ready: Mutex<VecDeque<Arc<RoomHandle>>>,
    turns: Semaphore,
    /// The bytes in all inboxes.
    bytes: AtomicUsize,
}

impl Delivery {
    pub(super) fn new() -> Self {
        Self { ready: Mutex::default(), turns: Semaphore::new(0), bytes: AtomicUsize::new(0) }
    }

    /// Adds an event of a room.
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

    /// Runs a worker, forever.
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

    /// Delivers some events of a room; returns whether there are more.
    fn turn(&self, room: &Arc<RoomHandle>, to: &impl Deliver) -> bool {
        let mut sent_bytes = 0;
        for _ in 0..TURN_EVENTS {
            // In its own statement, so that the inbox is not locked while the event is delivered.
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

#[cfg(test)]
mod tests {
    use rollcall_protocol::RoomId;

    use super::*;

    /// What reached members, in order: room and length. Rooms have `members`.
    struct Members {
        members: usize,
        delivered: Mutex<Vec<(RoomId, usize)>>,
    }

    impl Deliver for Members {
        fn deliver(&self, room: &Arc<RoomHandle>, text: &str) -> usize {
            self.delivered.lock().push((room.id.clone(), text.len()));
            self.members
        }

        fn lost(&self, room: &Arc<RoomHandle>) {
            self.delivered.lock().push((room.id.clone(), 0));
        }
    }

    fn room(name: &str) -> Arc<RoomHandle> {
        Arc::new(RoomHandle::new(name.into(), name.to_owned()))
    }

    /// One worker delivers what a loud room said, `events` of so many `bytes`, and after that 20 quiet ones. Answers how many
    /// events of the loud room went before the last quiet one.
    async fn loud_before_quiet(members: usize, events: usize, bytes: usize) -> usize {
        const QUIET: usize = 20;
        let (delivery, loud) = (Delivery::new(), room("loud"));
        (0..events).for_each(|_| delivery.push(&loud, &"x".repeat(bytes)));
        (0..QUIET).for_each(|n| delivery.push(&room(&format!("quiet {n}")), "y"));
        let to = Members { members, delivered: Mutex::default() };
        let everything = async {
            while to.delivered.lock().len() < events + QUIET {
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = everything => {}
            () = delivery.work(&to) => {}
        }
        assert_eq!(delivery.bytes.load(Ordering::Relaxed), 0);
        let delivered = to.delivered.into_inner();
        let last_quiet = delivered.iter().rposition(|(id, _)| id.as_str() != "loud").unwrap();
        last_quiet + 1 - QUIET
    }

    #[tokio::test]
    async fn a_loud_room_with_small_events_delivers_so_many_before_others_have_their_turn() {
        assert_eq!(loud_before_quiet(1, 1000, 10).await, TURN_EVENTS);
    }

    #[tokio::test]
    async fn a_loud_room_with_many_bytes_for_its_members_delivers_one_event_before_others_have_their_turn() {
        assert_eq!(loud_before_quiet(200, 100, 60_000).await, 1);
    }
}
