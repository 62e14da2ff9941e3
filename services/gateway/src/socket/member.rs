//! Implements the relay's view of a client.

use std::sync::Arc;

use rollcall_protocol::{ConnId, Info, RoomId, command::Restored};
use serde_json::value::RawValue;

use super::client::Client;
use crate::relay::Member;

impl Member for Client {
    fn conn(&self) -> &ConnId {
        &self.conn
    }

    fn emit(&self, event: &str, message: &RawValue) -> bool {
        // What a client may not see counts as sent.
        !self.may_see(event) || self.outlet.emit(event, message)
    }

    fn evicted(self: Arc<Self>, op: u64) {
        Client::evicted(&self, op);
    }

    fn too_slow(self: Arc<Self>, why: &'static str) {
        self.outlet.close_slow_consumer(why);
    }

    fn disconnect(self: Arc<Self>) {
        self.outlet.close();
    }

    fn recorded(&self, epoch: u64, op: u64, info: Option<&Info>, state: &str) {
        self.session.recorded(epoch, op, info, state);
    }

    fn is_member_of(&self, room: &RoomId) -> bool {
        self.session.is_member_of(room)
    }

    fn record(&self, room: &RoomId) -> Option<Restored> {
        self.session.record(&self.conn, room)
    }

    fn restored(&self, was_gone: bool) {
        self.session.restored(was_gone);
    }
}
