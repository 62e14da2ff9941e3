//! `auth:refresh`, and what a token's end means for its session.

use std::sync::Arc;

use rollcall_bus::revocations::Revocations;
use rollcall_protocol::{
    Fault, RoomId,
    client::{ExpiringMessage, RefreshAnswer, Token},
    command::{
        Command,
        lock::{Lock, Release},
    },
    event::Reason,
};
use rollcall_telemetry::propagation::TraceContext;
use serde_json::value::to_raw_value;

use super::leave::remove;
use crate::{
    auth::{Auth, Right, access::Due, permit::forbidden, sessions::Session},
    socket::{
        ack::Ack,
        client::{Client, count_refusal},
    },
};

pub(in crate::socket) async fn refresh(client: &Arc<Client>, token: Token, ack: Ack) {
    match renew(client, &token).await {
        Ok(expires_at) => {
            let left = leave_forbidden(client, TraceContext::of(ack.span()));
            ack.send(&RefreshAnswer { ok: true, expires_at: expires_at.saturating_mul(1_000), left: left.as_ref() });
        }
        Err(fault) => {
            count_refusal(&fault);
            ack.reject(&fault);
        }
    }
}

/// Takes the new token, and returns when it ends.
async fn renew(client: &Arc<Client>, token: &Token) -> Result<u64, Fault> {
    let (Auth::Jwt(tokens), Some(before)) = (&client.gateway.auth, client.access.identity()) else {
        return Err(Fault::invalid("this server takes no tokens"));
    };
    let identity = tokens.identify(Some(token)).await?;
    if identity.user != before.user {
        return Err(forbidden("the sub of the new token must be that of the first one"));
    }
    let expires_at = identity.expires_at;
    client.access.renew(identity);
    tokens.check(&**client);
    Ok(expires_at)
}

/// Leaves the room if the token does not allow it any more, and returns its name.
fn leave_forbidden(client: &Arc<Client>, trace: TraceContext) -> Option<RoomId> {
    let room = client.session.membership()?.room;
    client.learn_rights(&room);
    release_forbidden(client, &trace);
    if client.access.allows(Right::Join, &room) { None } else { remove(client, Reason::Forbidden, trace) }
}

/// Releases the locks in rooms where the token allows none any more.
fn release_forbidden(client: &Arc<Client>, trace: &TraceContext) {
    for lock in client.session.locks(|locks| locks.forbid(|room| client.access.allows(Right::Lock, room))) {
        let held = lock.held();
        let op = client.session.next_op_number();
        let release = Release { lock: held.lock.clone(), conn: client.conn.clone(), op, fence: held.fence };
        client.gateway.pending.send(Command::Lock(Lock::Release(release)), None, trace.clone());
    }
}

impl Session for Client {
    fn token_ages(&self, now: u64) {
        match self.access.due(now) {
            Due::Nothing => {}
            Due::Warning(expires_at) => {
                let message = ExpiringMessage { expires_at: expires_at.saturating_mul(1_000) };
                // Without room for it, it is sent at the next check.
                let sent = to_raw_value(&message).is_ok_and(|message| self.outlet.emit("auth:expiring", &message));
                if sent {
                    self.access.was_warned(expires_at);
                }
            }
            Due::Close => self.outlet.close(),
        }
    }

    /// Closes the transport, so that the client can reconnect with another token.
    fn end_if_revoked(&self, revocations: &Revocations) {
        if self.access.check_revocations(revocations) {
            self.outlet.close();
        }
    }
}
