//! `presence:leave`, and leaves that the client did not ask for: its socket closed, or it fell silent.

use std::sync::Arc;

use rollcall_protocol::{
    Fault, RoomId,
    command::{Command, Leave},
    event::Reason,
};
use rollcall_telemetry::{metrics, propagation::TraceContext};
use tracing::Span;

use super::locks;
use crate::socket::{
    client::Client,
    session::{Membership, not_joined},
};

/// The client leaves. Also if its join was not answered, since it may have been carried out.
pub(in crate::socket) async fn leave(client: &Arc<Client>, span: &Span) -> Result<(), Fault> {
    let own = client.session.membership().ok_or_else(not_joined)?;
    span.record("presence.room_id", own.room.as_str()).record("presence.user_id", own.user.as_str());
    let gateway = &client.gateway;
    locks::give_up(client, client.session.take_locks());
    let leaving = gateway.relay.exit(&own.room, &client.conn);
    let leave = leave_of(client, &own, Reason::Left);
    client.session.set_membership(None);
    client.session.is_back();
    // Without an answer, the leave may or may not have been carried out. Like that of a closed socket, it is sent until it is,
    // so that no one stays half in a room.
    gateway.pending.try_leave(leave, leaving, TraceContext::of(span)).await;
    Ok(())
}

/// The socket closed.
pub(in crate::socket) fn closed(client: &Arc<Client>, trace: TraceContext) {
    remove(client, Reason::Disconnected, trace);
}

/// Removes the client from its room, if it is in one, and ends its locks. Returns the room.
pub(super) fn remove(client: &Arc<Client>, reason: Reason, trace: TraceContext) -> Option<RoomId> {
    locks::give_up(client, client.session.take_locks());
    let own = client.session.membership()?;
    send_leave(client, &own, reason, trace);
    client.session.set_membership(None);
    client.session.is_back();
    Some(own.room)
}

/// Heartbeat mode: the client sent nothing for too long. Its membership stays in the session, and its next heartbeat restores
/// the record.
pub(in crate::socket) fn expire(client: &Arc<Client>) {
    let Some(own) = client.session.membership().filter(|own| own.joined) else { return };
    if !client.is_silent() || !client.session.expire() {
        return;
    }
    locks::give_up(client, client.session.take_locks());
    let gateway = &client.gateway;
    let leaving = gateway.relay.leave(&own.room);
    let leave = Command::Leave(leave_of(client, &own, Reason::Expired));
    metrics::evicted(Reason::Expired.as_str(), 1);
    gateway.pending.send(leave, Some(Box::new(leaving)), TraceContext::default());
}

/// Removes the socket from its room. No client waits for the leave.
pub(super) fn send_leave(client: &Arc<Client>, own: &Membership, reason: Reason, trace: TraceContext) {
    let gateway = &client.gateway;
    let leaving = gateway.relay.exit(&own.room, &client.conn);
    gateway.pending.send(Command::Leave(leave_of(client, own, reason)), Some(Box::new(leaving)), trace);
}

fn leave_of(client: &Client, own: &Membership, reason: Reason) -> Leave {
    Leave { room: own.room.clone(), conn: client.conn.clone(), op: client.session.next_op_number(), reason }
}
