//! `presence:join`.

use std::{sync::Arc, time::Duration};

use rollcall_protocol::{
    Code, Fault, RoomId, UserId,
    client::{JoinAnswer, OwnConn},
    command::{Command, Join, JoinResult, Joined, Member, Outcome},
    event::Reason,
    limits::{MAX_ROOM_BYTES, MAX_ROOM_MEMBERS},
};
use rollcall_telemetry::{
    metrics::{self, Refusal},
    propagation::TraceContext,
};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::timeout;

use super::leave::send_leave;
use crate::{
    flow::large::Reserved,
    relay::Entering,
    socket::{
        ack::Ack,
        client::Client,
        session::{Membership, Unanswered},
    },
    translate,
};

/// How long a join waits until it may be carried out.
const TURNS_WITHIN: Duration = Duration::from_secs(2);
/// About what a member takes in an answer besides its state and info.
const MEMBER_BYTES: usize = 200;

pub(in crate::socket) async fn join(
    client: &Arc<Client>,
    room: RoomId,
    user: Option<UserId>,
    state: Box<RawValue>,
    ack: Ack,
) {
    let identity = client.access.identity();
    let Some(user) = user.or_else(|| identity.as_ref().map(|identity| identity.user.clone())) else {
        return ack.reject(&Fault::invalid("userId is missing"));
    };
    if let Err(fault) = client.outlet.turn_to_write(state.get().len()).await {
        return ack.reject(&fault);
    }
    let before = client.session.membership();
    match &before {
        Some(own) if own.joined && own.room != room => {
            let fault = Fault::new(Code::RoomConflict, "Socket already joined a different presence room");
            return ack.reject(&fault);
        }
        Some(own) if own.joined && own.user != user => {
            return ack.reject(&Fault::invalid("userId must stay the same while the socket is in the room"));
        }
        // An earlier join was not answered and may have been carried out.
        Some(own) if !own.joined && (own.room != room || own.user != user) => {
            send_leave(client, own, Reason::Left, TraceContext::default());
        }
        _ => {}
    }
    let rejoins = before.as_ref().is_some_and(|own| own.joined);
    let entering = match client.gateway.relay.enter(&room, MEMBER_BYTES + state.get().len(), ack.span()).await {
        Ok(entering) => entering,
        Err(fault) => return ack.reject(&fault),
    };
    let backlog = client.outlet.flow().backlog();
    let wait = client.outlet.in_line(async {
        let turn = entering.turn().await;
        let place = entering.place().await;
        let share = backlog.wait_to_answer_join(entering.answer_bytes()).await;
        drop(place);
        Ok((turn, share, client.outlet.begin_write(state.get().len()).await?))
    });
    let (_turn, share, writing) = match timeout(TURNS_WITHIN, wait).await {
        Ok(Ok(turns)) => turns,
        Ok(Err(fault)) => return ack.reject(&fault),
        Err(_) => {
            metrics::refused(Refusal::LargeRequests);
            return ack.reject(&Fault::new(Code::Overloaded, "too many answers as large as this room are under way"));
        }
    };
    if rejoins {
        entering.hold(&client.conn);
    }
    let info = identity.as_ref().and_then(|identity| identity.info.clone());
    ack.span().record("presence.state_bytes", state.get().len() as i64);
    let (op, epoch) = (client.session.next_op_number(), client.session.highest_epoch());
    let own = Membership { room, user, epoch, info, state, base_op: op, joined: false };
    if !rejoins {
        client.session.set_membership(Some(own.clone()));
    }
    let command = command(client, &own);
    let reply = writing.during(client.gateway.bus.call(&command, TraceContext::of(ack.span()))).await;
    let (fault, was_written) = match reply.as_ref().map(|reply| (&*reply.outcome, reply.index)) {
        Ok((Outcome::Joined(joined), index)) => match joined.joins.get(index).map(|one| one.result) {
            Some(JoinResult::Member { epoch, op }) => {
                ack.span().record("presence.epoch", epoch as i64);
                client.learn_rights(&own.room);
                client.session.set_membership(Some(Membership { epoch, base_op: op, joined: true, ..own }));
                client.session.is_back();
                return admit(client, entering, joined, Own { index, epoch }, share, ack).await;
            }
            Some(JoinResult::Full) => {
                backlog.give_back(share);
                (full(), false)
            }
            Some(JoinResult::Overtaken) => {
                (Fault::new(Code::Timeout, "a later request of this socket was carried out before this one"), true)
            }
            None => (Fault::unexpected(), true),
        },
        Ok(_) => (Fault::unexpected(), true),
        Err(fault) => (fault.clone(), true),
    };
    if rejoins {
        if was_written {
            client.session.was_not_answered(Unanswered { op, raises_epoch: true });
        }
        entering.release(&client.conn, was_written);
    } else if !was_written {
        forget(client, before);
    }
    ack.reject(&fault);
}

/// The join that was carried out, among those of its reply.
struct Own {
    index: usize,
    epoch: u64,
}

/// Answers the join and adds the client to the room, once there is room for the answer, which is encoded before the room is locked.
async fn admit(client: &Arc<Client>, entering: Entering, joined: &Joined, own: Own, share: Reserved, ack: Ack) {
    let Own { index, epoch } = own;
    let info_bytes = |member: &Member| member.info.as_ref().map_or(0, |info| info.as_str().len());
    let size = |member: &Member| MEMBER_BYTES + info_bytes(member) + member.state.get().len();
    let bytes = joined.seen_by(index).map(size).sum();
    entering.will_answer(bytes);
    let share = client.outlet.flow().backlog().fit_to_answer(share, bytes).await;
    let snapshot: Vec<_> =
        joined.seen_by(index).map(|member| translate::answer::member(member, joined.seen_ms)).collect();
    ack.span().record("presence.snapshot_size", snapshot.len() as i64);
    metrics::joined_room(snapshot.len());
    let own = OwnConn { conn_id: &client.conn, epoch };
    let (seq, generation) = (joined.joins[index].seq, joined.generation);
    let answer = to_raw_value(&JoinAnswer { ok: true, snapshot, own, seq, generation }).unwrap_or_default();
    entering.admit(Arc::clone(client) as _, joined, index, || ack.send_encoded(answer));
    drop(share);
}

fn command(client: &Client, own: &Membership) -> Command {
    Command::Join(Join {
        room: own.room.clone(),
        user: own.user.clone(),
        conn: client.conn.clone(),
        gateway: client.gateway.bus.instance().clone(),
        op: own.base_op,
        known_epoch: own.epoch,
        info: own.info.clone(),
        state: own.state.clone(),
    })
}

/// The join was not carried out. An earlier one that was not answered may have been.
fn forget(client: &Arc<Client>, before: Option<Membership>) {
    if let Some(unanswered) = before.filter(|own| !own.joined) {
        send_leave(client, &unanswered, Reason::Left, TraceContext::default());
    }
    client.session.set_membership(None);
}

fn full() -> Fault {
    let mib = MAX_ROOM_BYTES.div_ceil(1024 * 1024);
    let sentence = format!("the room is full: it may have {MAX_ROOM_MEMBERS} members, and states of {mib} MiB in all");
    Fault::new(Code::Overloaded, sentence)
}
