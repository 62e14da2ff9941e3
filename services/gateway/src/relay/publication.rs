//! An event as members receive it: written once, sent to each.

use protocol::{
    ConnId, RoomId,
    client::EventMessage,
    event::{Kind, RoomEvent},
};
use serde_json::value::RawValue;

use super::room::{Known, Position};
use crate::socket::session::Session;

/// See the module.
pub(super) struct Publication {
    pub(super) at: Position,
    pub(super) kind: Kind,
    pub(super) conn: ConnId,
    pub(super) known: Known,
    message: Box<RawValue>,
    /// An update as a join, for a member that was never shown the connection.
    as_join: Option<Box<RawValue>>,
}

impl Publication {
    /// `kind` is the event's as members see it; `resync` marks the repair of a gap.
    pub(super) fn new(room: &RoomId, event: &RoomEvent<'_>, kind: Kind, resync: bool) -> Self {
        Self {
            at: Position { birth: event.birth, seq: event.seq },
            kind,
            conn: event.conn.into(),
            known: Known::of(event),
            message: message(room, event, kind, resync),
            as_join: None,
        }
    }

    /// Some members may not have been shown the connection: they receive a join.
    pub(super) fn with_join(self, room: &RoomId, event: &RoomEvent<'_>) -> Self {
        Self { as_join: Some(message(room, event, Kind::Join, false)), ..self }
    }

    /// Sends it, to a member that `lacked` the connection or knew it; says whether there was room for it.
    pub(super) fn send(&self, session: &Session, lacked: bool) -> bool {
        let message = self.as_join.as_ref().filter(|_| lacked).unwrap_or(&self.message);
        session.emit("presence:event", &**message)
    }
}

fn message(room: &RoomId, event: &RoomEvent<'_>, kind: Kind, resync: bool) -> Box<RawValue> {
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
    serde_json::value::to_raw_value(&message).unwrap_or_default()
}
