//! A session as the relay sees it.

use std::sync::Arc;

use protocol::{ConnId, RoomId, command::Restored};
use serde_json::value::RawValue;

use super::session::Session;
use crate::relay::Member;

impl Member for Session {
    fn conn(&self) -> &ConnId {
        &self.conn
    }

    fn emit(&self, event: &str, message: &RawValue) -> bool {
        Session::emit(self, event, message)
    }

    fn evicted(self: Arc<Self>, op: u64) {
        Session::evicted(&self, op);
    }

    fn close(self: Arc<Self>, why: &'static str) {
        self.doom(why);
    }

    fn is_member_of(&self, room: &RoomId) -> bool {
        Session::is_member_of(self, room)
    }

    fn record(&self, room: &RoomId) -> Option<Restored> {
        Session::record(self, room)
    }

    fn restored(&self, was_gone: bool) {
        Session::restored(self, was_gone);
    }
}
