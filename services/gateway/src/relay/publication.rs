//! An event as members receive it: written once, sent to each.

use protocol::{
    ConnId, RoomId,
    client::EventMessage,
    event::{Kind, Reason, RoomEvent},
};
use serde_json::value::RawValue;

use crate::socket::session::Session;

/// See the module.
pub(super) struct Publication {
    pub(super) birth: u64,
    pub(super) seq: u64,
    /// The connection that is not told of its own leave: it asked for it.
    own_leave_of: Option<ConnId>,
    message: Box<RawValue>,
}

impl Publication {
    /// `kind` is the event's as members see it; `resync` marks the repair of a gap.
    pub(super) fn new(room: &RoomId, event: &RoomEvent<'_>, kind: Kind, resync: bool) -> Self {
        let message = EventMessage {
            kind,
            room_id: room,
            user_id: event.user,
            conn_id: event.conn,
            state: event.state,
            ts: event.ts,
            epoch: event.epoch,
            seq: event.seq,
            birth: event.birth,
            reason: event.reason,
            user_joined: (kind == Kind::Join).then_some(event.user_edge),
            user_left: (kind == Kind::Leave).then_some(event.user_edge),
            resync,
        };
        let asked = matches!(event.reason, Some(Reason::Left | Reason::Disconnected));
        Self {
            birth: event.birth,
            seq: event.seq,
            own_leave_of: (kind == Kind::Leave && asked).then(|| event.conn.into()),
            message: serde_json::value::to_raw_value(&message).unwrap_or_default(),
        }
    }

    /// Sends it; says whether there was room for it.
    pub(super) fn send(&self, session: &Session) -> bool {
        self.own_leave_of.as_ref() == Some(&session.conn) || session.emit("presence:event", &*self.message)
    }
}
