//! A join under way, and leaves under way: how sockets enter rooms and leave them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use protocol::{ConnId, Fault, RoomId, command::Joined};
use tracing::Span;

use super::{Relay, member::Member, registry::RoomHandle, room::Join};

/// A join under way: the room is heard, and what it says meanwhile is kept for the one who joins.
pub(crate) struct Entering {
    relay: Arc<Relay>,
    room: Arc<RoomHandle>,
    join: Join,
}

impl Relay {
    /// Makes sure that the room is heard before a member joins it.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis did not confirm the subscription.
    pub(crate) async fn enter(self: &Arc<Self>, id: &RoomId, span: &Span) -> Result<Entering, Fault> {
        let (room, join) = self.registry.open(id, |room| room.lock().join_began());
        let entering = Entering { relay: Arc::clone(self), room, join };
        self.registry.subscribe(&entering.room, span).await.map(|()| entering)
    }

    /// Removes a member from its room. Its leave has to be sent, and the guard dropped when that is carried out.
    pub(crate) fn exit(self: &Arc<Self>, id: &RoomId, conn: &ConnId) -> Leaving {
        let leaving = self.leave(id);
        leaving.0.room.lock().exit(conn);
        leaving
    }

    /// A leave of a socket that stays a member here, or never became one, is about to be sent.
    pub(crate) fn leave(self: &Arc<Self>, id: &RoomId) -> Leaving {
        Leaving(self.keep(id, |room| &room.leaving))
    }

    /// The room, which is not forgotten as long as the guard lives, and counts it.
    pub(super) fn keep(self: &Arc<Self>, id: &RoomId, counter: fn(&RoomHandle) -> &AtomicUsize) -> Kept {
        let (room, _) = self.registry.open(id, |room| counter(room).fetch_add(1, Ordering::AcqRel));
        Kept { room, relay: Arc::clone(self), counter }
    }
}

impl Entering {
    /// Holds events back from a member that joins again: its answer comes first.
    pub(crate) fn hold(&self, conn: &ConnId) {
        self.room.lock().hold(conn);
    }

    /// A member could not join again: it goes on, from a snapshot, since it may have missed something.
    pub(crate) fn release(&self, conn: &ConnId) {
        self.room.lock().release(conn);
        self.relay.dirty.repair(&self.room);
    }

    /// Answers the join and makes a member of the connection: the answer first, then every event after it. `push` puts the answer
    /// into the connection's queue; it is called under the room's lock.
    pub(crate) fn admit(self, member: Arc<dyn Member>, joined: &Joined, index: usize, push: impl FnOnce()) {
        let (id, conn) = (&self.room.id, member.conn().clone());
        let mut room = self.room.lock();
        room.begin(id, joined, index);
        push();
        room.admit(id, &conn, member, joined, index);
        let wanted = room.take_wanted();
        drop(room);
        self.relay.dirty.see_to(&self.room, wanted);
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        self.room.lock().join_ended(self.join);
        self.relay.registry.forget_if_idle(&self.room);
    }
}

/// A leave under way: until it is carried out, Redis may have one member more than this gateway.
pub(crate) struct Leaving(Kept);

/// One more in a room's counter, as long as it lives.
pub(super) struct Kept {
    pub(super) room: Arc<RoomHandle>,
    relay: Arc<Relay>,
    counter: fn(&RoomHandle) -> &AtomicUsize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        (self.counter)(&self.room).fetch_sub(1, Ordering::AcqRel);
        self.relay.registry.forget_if_idle(&self.room);
    }
}
