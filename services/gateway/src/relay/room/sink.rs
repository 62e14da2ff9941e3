//! What a room needs of a member's connection.

use rollcall_protocol::Info;
use serde_json::value::RawValue;

/// Sends messages to a member.
pub(in crate::relay) trait Sink: Clone {
    /// Sends a message; returns whether there was room for it.
    fn emit(&self, event: &str, message: &RawValue) -> bool;
    /// The member was evicted although its connection is open; its record was at `op`. Called under the room's lock.
    fn evicted(&self, op: u64);
    /// What the room says of the member's own record. Called under the room's lock.
    fn recorded(&self, epoch: u64, op: u64, info: Option<&Info>, state: &str);
}
