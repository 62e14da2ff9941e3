//! What keeps a room from being forgotten, and counts in it: an interest in its locks, a leave under way.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{Relay, Room};

/// One more in a room's counter, as long as it lives.
pub(super) struct Kept {
    pub(super) room: Arc<Room>,
    pub(super) relay: Arc<Relay>,
    pub(super) counter: fn(&Room) -> &AtomicUsize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        (self.counter)(&self.room).fetch_sub(1, Ordering::AcqRel);
        self.relay.forget_soon(&self.room);
    }
}

/// A leave under way: until it is carried out, Redis may have one member more than this gateway.
pub(crate) struct Leaving(Kept);

impl Leaving {
    pub(super) fn new(kept: Kept) -> Self {
        Self(kept)
    }

    pub(super) fn room(&self) -> &Room {
        &self.0.room
    }
}
