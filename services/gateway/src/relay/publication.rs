//! An event as members receive it: written once, sent to each.

use protocol::{
    RoomId,
    client::EventMessage,
    event::{Kind, RoomEvent},
};
use serde_json::value::RawValue;

use crate::socket::session::Session;

/// See the module.
pub(super) struct Publication {
    pub(super) birth: u64,
    pub(super) seq: u64,
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
        Self {
            birth: event.birth,
            seq: event.seq,
            message: serde_json::value::to_raw_value(&message).unwrap_or_default(),
        }
    }

    /// Sends it; says whether there was room for it.
    pub(super) fn send(&self, session: &Session) -> bool {
        session.emit("presence:event", &*self.message)
    }
}
