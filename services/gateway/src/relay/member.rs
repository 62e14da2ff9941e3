//! What the relay needs of a member's connection; `socket` implements it.

use std::sync::Arc;

use rollcall_protocol::{ConnId, Info, RoomId, command::Restored};
use serde_json::value::RawValue;

use super::room::Sink;

/// A connection that is a member of a room, or about to be.
pub(crate) trait Member: Send + Sync + 'static {
    /// The connection's id.
    fn conn(&self) -> &ConnId;
    /// Sends an event; returns whether there was room for it in the connection's queue.
    fn emit(&self, event: &str, message: &RawValue) -> bool;
    /// The member was evicted although its connection is open; its record was at `op`. Called under the room's lock.
    fn evicted(self: Arc<Self>, op: u64);
    /// It does not take what it must be sent, and is not a member any more: its connection is to be closed, so that its client comes
    /// back and joins again.
    fn too_slow(self: Arc<Self>, why: &'static str);
    /// Its room cannot be read, and it is not a member any more: the same, through no fault of the client.
    fn disconnect(self: Arc<Self>);
    /// What the room says of the member's own record. Called under the room's lock.
    fn recorded(&self, epoch: u64, op: u64, info: Option<&Info>, state: &str);
    /// Whether Redis should have a record of it in `room`.
    fn is_member_of(&self, room: &RoomId) -> bool;
    /// That record.
    fn record(&self, room: &RoomId) -> Option<Restored>;
    /// The record was restored. Before, it was missing (`was_gone`) or older.
    fn restored(&self, was_gone: bool);
}

impl Sink for Arc<dyn Member> {
    fn emit(&self, event: &str, message: &RawValue) -> bool {
        Member::emit(&**self, event, message)
    }

    fn evicted(&self, op: u64) {
        Member::evicted(Arc::clone(self), op);
    }

    fn recorded(&self, epoch: u64, op: u64, info: Option<&Info>, state: &str) {
        Member::recorded(&**self, epoch, op, info, state);
    }
}
