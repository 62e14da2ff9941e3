//! An event as members receive it: encoded once, sent to each.

use std::collections::HashMap;

use rollcall_protocol::{
    ConnId, Position, RoomId,
    event::{Kind, RoomEvent},
};
use serde_json::value::RawValue;

use super::{roster::Known, sink::Sink};
use crate::translate;

/// An encoded event.
pub(super) struct Publication {
    pub(super) at: Position,
    pub(super) previous_token: u64,
    pub(super) conn: ConnId,
    /// The connection after the event; `None` if it left.
    pub(super) after: Option<Known>,
    message: Box<RawValue>,
    /// An update as a join, for a member that was never shown the connection.
    as_join: Option<Box<RawValue>>,
}

impl Publication {
    /// An event of the room, after which `conn` is `after`. `kind` is its kind as members see it.
    pub(super) fn new(room: &RoomId, event: &RoomEvent<'_>, kind: Kind, conn: ConnId, after: Option<Known>) -> Self {
        let message = message(room, event, kind, event.user_edge, false);
        Self { at: event.at, previous_token: event.previous_token, conn, after, message, as_join: None }
    }

    /// An event that replaces missed ones.
    pub(super) fn resync(room: &RoomId, event: &RoomEvent<'_>, conn: ConnId, after: Option<Known>) -> Self {
        let message = message(room, event, event.kind, event.user_edge, true);
        Self { at: event.at, previous_token: event.previous_token, conn, after, message, as_join: None }
    }

    /// Adds a join for members that were not shown the connection.
    pub(super) fn with_join(self, room: &RoomId, event: &RoomEvent<'_>) -> Self {
        Self { as_join: Some(message(room, event, Kind::Join, event.user_edge, false)), ..self }
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.message.get().len() + self.as_join.as_ref().map_or(0, |message| message.get().len())
    }

    /// Sends it to a member that `lacked` the connection, or knew it; returns whether there was room for it.
    pub(super) fn send(&self, sink: &impl Sink, lacked: bool) -> bool {
        sink.emit("presence:event", self.as_join.as_ref().filter(|_| lacked).unwrap_or(&self.message))
    }
}

/// An event of a room that recovers, for members that have not been sent the full roster since. It is marked as part of a resync,
/// so that `seq` may jump. Each form is encoded once.
pub(super) struct Marked<'a> {
    room: &'a RoomId,
    event: &'a RoomEvent<'a>,
    forms: HashMap<(&'static str, bool), Box<RawValue>>,
}

impl<'a> Marked<'a> {
    pub(super) fn new(room: &'a RoomId, event: &'a RoomEvent<'a>) -> Self {
        Self { room, event, forms: HashMap::new() }
    }

    /// The event as `kind`. `edge`: it is the first or last connection of its user that the member knows.
    pub(super) fn message(&mut self, kind: Kind, edge: bool) -> &RawValue {
        let Self { room, event, forms } = self;
        forms.entry((kind.as_str(), edge)).or_insert_with(|| message(room, event, kind, edge, true))
    }
}

fn message(room: &RoomId, event: &RoomEvent<'_>, kind: Kind, user_edge: bool, resync: bool) -> Box<RawValue> {
    let message = translate::message::presence(room, event, kind, user_edge, resync);
    serde_json::value::to_raw_value(&message).unwrap_or_default()
}
