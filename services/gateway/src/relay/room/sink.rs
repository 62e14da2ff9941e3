//! What a room needs of a member's connection.

use serde_json::value::RawValue;

/// Where the messages of a member go.
pub(in crate::relay) trait Sink: Clone {
    /// Sends a message; says whether there was room for it.
    fn emit(&self, event: &str, message: &RawValue) -> bool;
    /// The room was told that the member is gone although its connection is open; its record stood at `op`. Called under the
    /// room's lock.
    fn evicted(&self, op: u64);
}
