//! What a session's work does: each event becomes one request on the bus, and its answer one acknowledgement.

use std::sync::{Arc, atomic::Ordering};

use protocol::{
    Code, Fault, RoomId, UserId,
    client::{DONE, HeartbeatAnswer, JoinAnswer, OwnConn, Request},
    command::{Command, Heartbeat, Join, JoinResult, Joined, Leave, Outcome, Restore, Restored},
    event::Reason,
    limits::{MAX_ADOPTED_EPOCH, MAX_ROOM_BYTES, MAX_ROOM_MEMBERS},
    state,
};
use serde_json::value::{RawValue, to_raw_value};
use telemetry::{metrics, propagation::TraceContext};
use tracing::Span;

use super::{
    answer::Answer,
    locks, metadata,
    session::{Membership, Op, Session, not_joined},
};
use crate::{relay::Entering, translate};

/// A heartbeat whose copy of the state was not the record's merges again, at most so often.
const MERGES: u32 = 4;

pub(super) async fn carry_out(session: &Arc<Session>, op: Op) {
    match op {
        // Boxed: it is large and rare, and every patch would carry room for it.
        Op::Request(Request::Join { room, user, state }, answer) => {
            Box::pin(join(session, room, user, state, answer)).await;
        }
        Op::Request(Request::Heartbeat { epoch, patch }, answer) => {
            match heartbeat(session, epoch, patch, answer.span()).await {
                Ok(done) => answer.send(&done),
                Err(fault) => answer.refuse(&fault),
            }
        }
        Op::Request(Request::Leave, answer) => match leave(session, answer.span()).await {
            Ok(()) => answer.send(&DONE),
            Err(fault) => answer.refuse(&fault),
        },
        Op::Request(Request::Metadata(asked), answer) => {
            let (channel, ask) = *asked;
            Box::pin(metadata::carry_out(session, channel, ask, answer)).await;
        }
        Op::Request(Request::Lock(ask), answer) => Box::pin(locks::carry_out(session, *ask, answer)).await,
        Op::Expire => expire(session),
        Op::Closed(trace) => {
            closed(session, trace);
            session.gateway.sessions.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

async fn join(session: &Arc<Session>, room: RoomId, user: UserId, state: Box<RawValue>, answer: Answer) {
    let before = session.membership();
    match &before {
        Some(own) if own.joined && own.room != room => {
            let fault = Fault::new(Code::RoomConflict, "Socket already joined a different presence room");
            return answer.refuse(&fault);
        }
        Some(own) if own.joined && own.user != user => {
            return answer.refuse(&Fault::invalid("userId must stay the same while the socket is in the room"));
        }
        // An earlier join was not answered and may have happened.
        Some(own) if !own.joined && (own.room != room || own.user != user) => {
            send_leave(session, own, Reason::Left, TraceContext::default());
        }
        _ => {}
    }
    let rejoins = before.as_ref().is_some_and(|own| own.joined);
    let gateway = &session.gateway;
    let entering = match gateway.relay.enter(&room, answer.span()).await {
        Ok(entering) => entering,
        Err(fault) => return answer.refuse(&fault),
    };
    if rejoins {
        entering.hold(&session.conn);
    }
    let (op, known_epoch) = (session.next_op_number(), session.highest_epoch());
    let own = Membership { room: room.clone(), user, epoch: known_epoch, state, base_op: op, joined: false };
    let command = Command::Join(Join {
        room,
        user: own.user.clone(),
        conn: session.conn.clone(),
        gateway: gateway.bus.instance().clone(),
        op,
        known_epoch,
        state: own.state.clone(),
    });
    if !rejoins {
        session.set_membership(Some(own.clone()));
    }
    let reply = gateway.bus.call(&command, TraceContext::of(answer.span())).await;
    let (fault, was_written) = match reply.as_ref().map(|reply| (&*reply.outcome, reply.index)) {
        Ok((Outcome::Joined(joined), index)) => match joined.joins.get(index).map(|one| one.result) {
            Some(JoinResult::Member { epoch, op }) => {
                answer.span().record("presence.epoch", epoch as i64);
                session.set_membership(Some(Membership { epoch, base_op: op, joined: true, ..own }));
                session.is_back();
                return admit(session, entering, joined, index, epoch, answer);
            }
            Some(JoinResult::Full) => (full(), false),
            Some(JoinResult::Overtaken) => {
                (Fault::new(Code::Timeout, "a later request of this socket was carried out before this one"), true)
            }
            None => (Fault::unexpected(), true),
        },
        Ok(_) => (Fault::unexpected(), true),
        Err(fault) => (fault.clone(), true),
    };
    if rejoins {
        entering.release(&session.conn);
    } else if !was_written {
        // An earlier join that was not answered may have been carried out.
        if let Some(unanswered) = before.filter(|own| !own.joined) {
            send_leave(session, &unanswered, Reason::Left, TraceContext::default());
        }
        session.set_membership(None);
    }
    answer.refuse(&fault);
}

/// Answers a join and makes a member of the session.
fn admit(session: &Arc<Session>, entering: Entering, joined: &Joined, index: usize, epoch: u64, answer: Answer) {
    let snapshot: Vec<_> =
        joined.seen_by(index).map(|member| translate::answer::member(member, joined.seen_ms)).collect();
    answer.span().record("presence.snapshot_size", snapshot.len() as i64);
    let encoded = to_raw_value(&JoinAnswer {
        ok: true,
        snapshot,
        own: OwnConn { conn_id: &session.conn, epoch },
        seq: joined.joins[index].seq,
        birth: joined.birth,
    })
    .unwrap_or_default();
    entering.admit(Arc::clone(session) as _, joined, index, || answer.send(&encoded));
}

async fn heartbeat(
    session: &Arc<Session>,
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
        && let Some(done) = session.plain_heartbeat(epoch, trace)
    {
        return done;
    }
    for _ in 0..MERGES {
        let mut own = session.membership().filter(|own| own.joined).ok_or_else(not_joined)?;
        if epoch.is_some_and(|epoch| epoch < own.epoch) {
            return Ok(HeartbeatAnswer { ok: true, epoch: own.epoch, stale: true, ..Default::default() });
        }
        if epoch.is_some_and(|epoch| epoch > own.epoch && epoch > MAX_ADOPTED_EPOCH) {
            return Err(Fault::invalid(format!("epoch must be the current one or at most {MAX_ADOPTED_EPOCH}")));
        }
        span.record("presence.room_id", own.room.as_str()).record("presence.user_id", own.user.as_str());
        let merged = patch.as_deref().map(|patch| state::merge(&own.state, patch)).transpose()?.flatten();
        let op = session.next_op_number();
        if session.has_expired() {
            return restore(session, own, op, epoch, merged, span).await;
        }
        let command = Command::Heartbeat(Heartbeat {
            room: own.room.clone(),
            conn: session.conn.clone(),
            op,
            base_op: own.base_op,
            known_epoch: session.highest_epoch(),
            epoch,
            state: merged,
        });
        let reply = session.gateway.bus.call(&command, TraceContext::of(span)).await?;
        // Taken back: a state may have 16 KiB, and the command needs it no more.
        let Command::Heartbeat(Heartbeat { state: merged, .. }) = command else { return Err(Fault::unexpected()) };
        match &*reply.outcome {
            Outcome::Beat { changed, epoch, op } => {
                span.record("presence.epoch", *epoch as i64).record("presence.state_changed", *changed);
                own.state = merged.unwrap_or(own.state);
                session.set_membership(Some(Membership { epoch: *epoch, base_op: *op, ..own }));
                let rejoined = session.is_back();
                return Ok(HeartbeatAnswer { ok: true, changed: *changed, epoch: *epoch, stale: false, rejoined });
            }
            Outcome::Stale { epoch } => {
                session.set_membership(Some(Membership { epoch: *epoch, ..own }));
                return Ok(HeartbeatAnswer { ok: true, epoch: *epoch, stale: true, ..Default::default() });
            }
            Outcome::Conflict { epoch, op, state } => {
                session.set_membership(Some(Membership { epoch: *epoch, base_op: *op, state: state.clone(), ..own }));
            }
            Outcome::Missing => return restore(session, own, op, epoch, merged, span).await,
            _ => return Err(Fault::unexpected()),
        }
    }
    Err(Fault::new(Code::Timeout, "the state changed each time that the patch was merged into it; try again"))
}

/// Writes the record of a connection that Redis lost, or that was evicted while the connection lived. What came with the
/// patch is in the state that is restored: members see one change, not two.
async fn restore(
    session: &Arc<Session>,
    own: Membership,
    op: u64,
    epoch: Option<u64>,
    merged: Option<Box<RawValue>>,
    span: &Span,
) -> Result<HeartbeatAnswer, Fault> {
    let epoch = epoch.unwrap_or(0).max(session.highest_epoch());
    let own = Membership { epoch, base_op: op, state: merged.unwrap_or(own.state), ..own };
    let command = Command::Restore(Restore {
        room: own.room.clone(),
        gateway: session.gateway.bus.instance().clone(),
        members: vec![Restored {
            conn: session.conn.clone(),
            user: own.user.clone(),
            op,
            epoch,
            state: own.state.clone(),
        }],
        strays: None,
    });
    let reply = session.gateway.bus.call(&command, TraceContext::of(span)).await?;
    if !matches!(*reply.outcome, Outcome::Restored { .. }) {
        return Err(Fault::unexpected());
    }
    session.set_membership(Some(own));
    session.is_back();
    Ok(HeartbeatAnswer { ok: true, epoch, rejoined: true, ..Default::default() })
}

/// The client leaves. A join that was not answered may have happened: its leave is sent too.
async fn leave(session: &Arc<Session>, span: &Span) -> Result<(), Fault> {
    let own = session.membership().ok_or_else(not_joined)?;
    span.record("presence.room_id", own.room.as_str()).record("presence.user_id", own.user.as_str());
    let gateway = &session.gateway;
    locks::leave(session, Some(&own.room));
    let leaving = gateway.relay.exit(&own.room, &session.conn);
    let leave = leave_of(session, &own, Reason::Left);
    session.set_membership(None);
    session.is_back();
    // Without an answer it may have happened or happen yet, and no one may be half in a room: it is sent until it is
    // carried out, like that of a socket that closed.
    gateway.pending_leaves.try_leave(leave, leaving, TraceContext::of(span)).await;
    Ok(())
}

fn closed(session: &Arc<Session>, trace: TraceContext) {
    if let Some(own) = session.membership() {
        locks::leave(session, Some(&own.room));
        send_leave(session, &own, Reason::Disconnected, trace);
        session.set_membership(None);
    }
}

/// Heartbeat mode: the client sent nothing for too long. Its seat stays, and its next heartbeat restores it.
fn expire(session: &Arc<Session>) {
    let Some(own) = session.membership().filter(|own| own.joined) else { return };
    if !session.is_silent() || !session.expire() {
        return;
    }
    locks::leave(session, Some(&own.room));
    let gateway = &session.gateway;
    let leaving = gateway.relay.leave(&own.room);
    let leave = Command::Leave(leave_of(session, &own, Reason::Expired));
    metrics::evicted(Reason::Expired.as_str(), 1);
    gateway.pending_leaves.send(leave, Some(leaving), TraceContext::default());
}

/// Removes the socket from its room; no one waits for that.
fn send_leave(session: &Arc<Session>, own: &Membership, reason: Reason, trace: TraceContext) {
    let gateway = &session.gateway;
    let leaving = gateway.relay.exit(&own.room, &session.conn);
    gateway.pending_leaves.send(Command::Leave(leave_of(session, own, reason)), Some(leaving), trace);
}

fn leave_of(session: &Session, own: &Membership, reason: Reason) -> Leave {
    Leave { room: own.room.clone(), conn: session.conn.clone(), op: session.next_op_number(), reason }
}

fn full() -> Fault {
    let mib = MAX_ROOM_BYTES.div_ceil(1024 * 1024);
    let sentence = format!("the room is full: it may have {MAX_ROOM_MEMBERS} members, and states of {mib} MiB in all");
    Fault::new(Code::Overloaded, sentence)
}
