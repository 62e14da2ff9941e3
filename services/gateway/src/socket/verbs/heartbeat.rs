//! `presence:heartbeat` that is not answered at once: with a patch, with a higher epoch, or of a member whose record is gone.

use std::time::Instant;

use rollcall_protocol::{
    Code, Fault, RoomId,
    client::HeartbeatAnswer,
    command::{Command, Heartbeat, Outcome, Restore, Restored},
    limits::MAX_ADOPTED_EPOCH,
    state,
};
use rollcall_telemetry::propagation::TraceContext;
use serde_json::value::RawValue;
use tracing::Span;

use crate::{
    flow::pace::LARGE,
    socket::{
        client::Client,
        session::{Membership, Unanswered, not_joined},
    },
};

/// How often a patch is merged again if the stored state is newer than the one it was merged into.
const MERGES: u32 = 4;

pub(in crate::socket) async fn heartbeat(
    client: &Client,
    epoch: Option<u64>,
    patch: Option<Box<RawValue>>,
    span: &Span,
) -> Result<HeartbeatAnswer, Fault> {
    let trace = |epoch| {
        if !span.is_disabled() {
            tracing::record_all!(span, presence.epoch = epoch as i64, presence.state_changed = false);
        }
    };
    if patch.is_none()
        && let Some(done) = client.plain_heartbeat(epoch, trace)
    {
        return done;
    }
    if let Some(patch) = &patch {
        // The whole state is written.
        let state_bytes = client.session.membership().map_or(0, |own| own.state.get().len());
        client.outlet.turn_to_write(state_bytes.max(patch.get().len())).await?;
    }
    for _ in 0..MERGES {
        if let Some(answer) = beat(client, epoch, patch.as_deref(), span).await? {
            return Ok(answer);
        }
    }
    Err(Fault::new(Code::Timeout, "the state changed each time that the patch was merged into it; try again"))
}

/// One try; `None` if the stored state was newer, which the session has now.
async fn beat(
    client: &Client,
    epoch: Option<u64>,
    patch: Option<&RawValue>,
    span: &Span,
) -> Result<Option<HeartbeatAnswer>, Fault> {
    let session = &client.session;
    let mut own = session.membership().filter(|own| own.joined).ok_or_else(not_joined)?;
    if epoch.is_some_and(|epoch| epoch < own.epoch) {
        return Ok(Some(stale(own.epoch)));
    }
    if epoch.is_some_and(|epoch| epoch > own.epoch && epoch > MAX_ADOPTED_EPOCH) {
        return Err(Fault::invalid(format!("epoch must be the current one or at most {MAX_ADOPTED_EPOCH}")));
    }
    span.record("presence.room_id", own.room.as_str()).record("presence.user_id", own.user.as_str());
    let merged = patch.map(|patch| state::merge(&own.state, patch)).transpose()?.flatten();
    if let Some(state) = &merged {
        span.record("presence.state_bytes", state.get().len() as i64);
    }
    let writing = client.outlet.begin_write(merged.as_ref().map_or(0, |state| state.get().len())).await?;
    let op = session.next_op_number();
    if session.has_expired() {
        return restore(client, own, op, epoch, merged, span).await.map(Some);
    }
    let command = Command::Heartbeat(Heartbeat {
        room: own.room.clone(),
        conn: client.conn.clone(),
        op,
        base_op: own.base_op,
        known_epoch: session.highest_epoch(),
        epoch,
        info: own.info.clone().filter(|_| merged.is_some()),
        state: merged.clone(),
    });
    let asked = Instant::now();
    let reply = writing.during(client.gateway.bus.call(&command, TraceContext::of(span))).await;
    if merged.as_ref().is_none_or(|state| state.get().len() < LARGE) {
        client.outlet.flow().backlog().pace.answered(asked.elapsed());
    }
    let raises_epoch = epoch.is_some_and(|epoch| epoch > own.epoch);
    let reply = reply.inspect_err(|_| was_not_answered(client, &own.room, Unanswered { op, raises_epoch }))?;
    match &*reply.outcome {
        Outcome::Beat { changed, epoch, op } => {
            span.record("presence.epoch", *epoch as i64).record("presence.state_changed", *changed);
            own.state = merged.unwrap_or(own.state);
            session.set_membership(Some(Membership { epoch: *epoch, base_op: *op, ..own }));
            let rejoined = session.is_back();
            Ok(Some(HeartbeatAnswer { ok: true, changed: *changed, epoch: *epoch, stale: false, rejoined }))
        }
        Outcome::Stale { epoch } => {
            session.set_membership(Some(Membership { epoch: *epoch, ..own }));
            Ok(Some(stale(*epoch)))
        }
        Outcome::Conflict { epoch, op, info, state } => {
            let (info, state) = (info.clone(), state.clone());
            session.set_membership(Some(Membership { epoch: *epoch, base_op: *op, info, state, ..own }));
            Ok(None)
        }
        Outcome::Missing => restore(client, own, op, epoch, merged, span).await.map(Some),
        _ => Err(Fault::unexpected()),
    }
}

fn stale(epoch: u64) -> HeartbeatAnswer {
    HeartbeatAnswer { ok: true, epoch, stale: true, ..Default::default() }
}

/// Whether the operation was carried out is not known: the room's events say so, now or later.
fn was_not_answered(client: &Client, room: &RoomId, unanswered: Unanswered) {
    client.session.was_not_answered(unanswered);
    client.gateway.relay.repeat_record(room, &client.conn);
}

/// Restores the record of a connection that Redis lost, or that was evicted while the client was connected. The restored state
/// includes the patch, so members see one change, not two.
async fn restore(
    client: &Client,
    own: Membership,
    op: u64,
    epoch: Option<u64>,
    merged: Option<Box<RawValue>>,
    span: &Span,
) -> Result<HeartbeatAnswer, Fault> {
    let epoch = epoch.unwrap_or(0).max(client.session.highest_epoch());
    let own = Membership { epoch, base_op: op, state: merged.unwrap_or(own.state), ..own };
    let command = Command::Restore(Restore {
        room: own.room.clone(),
        gateway: client.gateway.bus.instance().clone(),
        members: vec![Restored {
            conn: client.conn.clone(),
            user: own.user.clone(),
            op,
            epoch,
            info: own.info.clone(),
            state: own.state.clone(),
        }],
        strays: None,
    });
    let reply = client.gateway.bus.call(&command, TraceContext::of(span)).await;
    let unanswered = Unanswered { op, raises_epoch: true };
    let reply = reply.inspect_err(|_| was_not_answered(client, &own.room, unanswered))?;
    if !matches!(*reply.outcome, Outcome::Restored { .. }) {
        return Err(Fault::unexpected());
    }
    client.session.set_membership(Some(own));
    client.session.is_back();
    Ok(HeartbeatAnswer { ok: true, epoch, rejoined: true, ..Default::default() })
}
