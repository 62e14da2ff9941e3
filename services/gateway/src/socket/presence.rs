//! What a session's work does: each event becomes one request on the bus, and its answer one acknowledgement.

use std::sync::{Arc, atomic::Ordering};

use protocol::{
    Code, Fault, RoomId, UserId,
    client::{DONE, HeartbeatAnswer, Request},
    command::{Command, Heartbeat, Join, Leave, Outcome},
    event::Reason,
    state,
};
use serde_json::value::RawValue;
use telemetry::propagation::TraceContext;
use tracing::Span;

use super::{
    answer::Answer,
    locks, metadata,
    session::{Op, Seat, Session, not_joined},
};

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
        Op::Restore => {
            if let Some(seat) = session.seat().filter(|seat| seat.joined)
                && restore(session, seat, TraceContext::default()).await.is_ok()
            {
                session.is_back(false);
            }
        }
        Op::Closed(trace) => {
            closed(session, trace);
            session.gateway.sessions.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

async fn join(session: &Arc<Session>, room: RoomId, user: UserId, state: Box<RawValue>, answer: Answer) {
    let before = session.seat();
    match &before {
        Some(seat) if seat.joined && seat.room != room => {
            let fault = Fault::new(Code::RoomConflict, "Socket already joined a different presence room");
            return answer.refuse(&fault);
        }
        Some(seat) if seat.joined && seat.user != user => {
            return answer.refuse(&Fault::invalid("userId must stay the same while the socket is in the room"));
        }
        // An earlier join was not answered and may have happened.
        Some(seat) if !seat.joined && (seat.room != room || seat.user != user) => {
            farewell(session, seat, Reason::Left, false, TraceContext::default());
        }
        _ => {}
    }
    let rejoin = before.filter(|seat| seat.joined);
    let gateway = &session.gateway;
    let entering = match gateway.relay.enter(&room, answer.span()).await {
        Ok(entering) => entering,
        Err(fault) => return answer.refuse(&fault),
    };
    if rejoin.is_some() {
        entering.hold(session);
    }
    let op = session.next_op_number();
    let seat = Seat {
        room: room.clone(),
        user: user.clone(),
        epoch: session.highest_epoch(),
        state,
        base_op: op,
        joined: false,
    };
    let command = Command::Join(Join {
        room: room.clone(),
        user,
        conn: session.conn.clone(),
        node: gateway.bus.instance().clone(),
        op,
        known_epoch: seat.epoch,
        restore: false,
        state: seat.state.clone(),
    });
    if rejoin.is_none() {
        session.set_seat(Some(seat.clone()));
    }
    let result = gateway.bus.call(room.as_str(), &command, TraceContext::of(answer.span())).await;
    let fault = match result {
        Ok(reply) => match &*reply.outcome {
            Outcome::Joined(joined) if joined.joins.get(reply.index).is_some_and(|own| own.epoch > 0) => {
                let own = &joined.joins[reply.index];
                answer.span().record("presence.epoch", own.epoch as i64);
                session.set_seat(Some(Seat { epoch: own.epoch, joined: true, ..seat }));
                session.is_back(true);
                session.pulse.heard();
                return entering.admit(session, joined, reply.index, answer);
            }
            _ => Fault::new(Code::Internal, "the join was answered with something else"),
        },
        Err(fault) => fault,
    };
    if rejoin.is_some() {
        entering.release(session);
    }
    answer.refuse(&fault);
}

async fn heartbeat(
    session: &Arc<Session>,
    epoch: Option<u64>,
    patch: Option<Box<RawValue>>,
    span: &Span,
) -> Result<HeartbeatAnswer, Fault> {
    let trace = |epoch| {
        (!span.is_disabled()).then(|| {
            tracing::record_all!(span, presence.epoch = epoch as i64, presence.state_changed = false);
            TraceContext::of(span)
        })
    };
    if patch.is_none()
        && let Some(done) = session.plain_heartbeat(epoch, trace)
    {
        return done;
    }
    for _ in 0..MERGES {
        let mut seat = session.seat().filter(|seat| seat.joined).ok_or_else(not_joined)?;
        if epoch.is_some_and(|epoch| epoch < seat.epoch) {
            return Ok(HeartbeatAnswer { ok: true, epoch: seat.epoch, stale: true, ..Default::default() });
        }
        span.record("presence.room_id", seat.room.as_str()).record("presence.user_id", seat.user.as_str());
        let merged = patch.as_deref().map(|patch| state::merge(&seat.state, patch)).transpose()?.flatten();
        let command = Command::Heartbeat(Heartbeat {
            room: seat.room.clone(),
            conn: session.conn.clone(),
            node: session.gateway.bus.instance().clone(),
            op: session.next_op_number(),
            base_op: seat.base_op,
            epoch,
            state: merged.clone(),
        });
        let reply = session.gateway.bus.call(seat.room.as_str(), &command, TraceContext::of(span)).await?;
        match &*reply.outcome {
            Outcome::Beat { changed, epoch, op } => {
                span.record("presence.epoch", *epoch as i64).record("presence.state_changed", *changed);
                seat.state = merged.unwrap_or(seat.state);
                session.set_seat(Some(Seat { epoch: *epoch, base_op: *op, ..seat }));
                session.pulse.heard();
                let rejoined = session.is_back(true);
                return Ok(HeartbeatAnswer { ok: true, changed: *changed, epoch: *epoch, stale: false, rejoined });
            }
            Outcome::Stale { epoch } => {
                session.set_seat(Some(Seat { epoch: *epoch, ..seat }));
                return Ok(HeartbeatAnswer { ok: true, epoch: *epoch, stale: true, ..Default::default() });
            }
            Outcome::Conflict { epoch, op, state } => {
                session.set_seat(Some(Seat { epoch: *epoch, base_op: *op, state: state.clone(), ..seat }));
            }
            Outcome::Missing => {
                // What came with the patch is in the state that is put back: members see one change, not two.
                seat.state = merged.unwrap_or(seat.state);
                seat.epoch = seat.epoch.max(epoch.unwrap_or(0));
                let epoch = restore(session, seat, TraceContext::of(span)).await?;
                session.is_back(true);
                return Ok(HeartbeatAnswer { ok: true, epoch, rejoined: true, ..Default::default() });
            }
            _ => break,
        }
    }
    Err(Fault::new(Code::Internal, "the heartbeat was answered with something else"))
}

/// Puts a record back that Redis lost or that was evicted while the connection lived; answers its epoch.
async fn restore(session: &Arc<Session>, seat: Seat, trace: TraceContext) -> Result<u64, Fault> {
    let command = Command::Join(Join {
        room: seat.room.clone(),
        user: seat.user.clone(),
        conn: session.conn.clone(),
        node: session.gateway.bus.instance().clone(),
        op: session.next_op_number(),
        known_epoch: seat.epoch,
        restore: true,
        state: seat.state.clone(),
    });
    let reply = session.gateway.bus.call(seat.room.as_str(), &command, trace).await?;
    let Outcome::Joined(joined) = &*reply.outcome else {
        return Err(Fault::new(Code::Internal, "the join was answered with something else"));
    };
    let epoch = seat.epoch;
    if let Some(own) = joined.joins.get(reply.index).filter(|own| own.member.is_some()) {
        session.set_seat(Some(Seat { epoch: own.epoch, base_op: own.op, ..seat }));
    }
    session.pulse.heard();
    Ok(epoch)
}

async fn leave(session: &Arc<Session>, span: &Span) -> Result<(), Fault> {
    let seat = session.seat().filter(|seat| seat.joined).ok_or_else(not_joined)?;
    span.record("presence.room_id", seat.room.as_str()).record("presence.user_id", seat.user.as_str());
    let gateway = &session.gateway;
    locks::leave(session, Some(&seat.room));
    // Its seat first: of two that leave together one has to be the last.
    let last_of_node = gateway.relay.exit(&seat.room, &session.conn);
    let leave = message(session, &seat, Reason::Left, last_of_node);
    let trace = TraceContext::of(span);
    // Without an answer it may have happened or happen yet, and nobody may be half in a room: it is repeated until it
    // has, like that of a socket that closed.
    if gateway.bus.call(seat.room.as_str(), &Command::Leave(leave.clone()), trace.clone()).await.is_err() {
        gateway.farewells.send(Command::Leave(leave), trace);
    }
    session.set_seat(None);
    session.is_back(true);
    Ok(())
}

fn closed(session: &Arc<Session>, trace: TraceContext) {
    if let Some(seat) = session.seat() {
        locks::leave(session, Some(&seat.room));
        let last_of_node = session.gateway.relay.exit(&seat.room, &session.conn);
        farewell(session, &seat, Reason::Disconnected, last_of_node, trace);
        session.set_seat(None);
    }
}

/// A leave that nobody waits for.
fn farewell(session: &Arc<Session>, seat: &Seat, reason: Reason, last_of_node: bool, trace: TraceContext) {
    let leave = message(session, seat, reason, last_of_node);
    session.gateway.farewells.send(Command::Leave(leave), trace);
}

fn message(session: &Session, seat: &Seat, reason: Reason, last_of_node: bool) -> Leave {
    Leave {
        room: seat.room.clone(),
        conn: session.conn.clone(),
        node: session.gateway.bus.instance().clone(),
        op: session.next_op_number(),
        reason,
        last_of_node,
    }
}
