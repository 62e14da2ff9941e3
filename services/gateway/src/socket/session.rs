//! The data of one session: its membership of a room, what its client does not know yet, its locks, and its queue of
//! operations. Nothing here waits, sends or spawns.

mod standing;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use rollcall_protocol::{Code, ConnId, Fault, Info, RoomId, UserId, client::Request, command::Restored};
use serde_json::value::RawValue;

use self::standing::Standing;
use super::{
    ack::Ack,
    held::{Locks, TakenLocks},
    op::Op,
};
use crate::{count::Counted, flow::Flow};

/// The most events of one client that may wait; further ones are answered `OVERLOADED`.
const QUEUE: usize = 64;
/// Reading pauses when so many wait: what was read already, some 17 events, still has room. It goes on when a few are left.
const NEARLY_FULL: usize = 40;
const NEARLY_EMPTY: usize = 8;

/// A connection's membership of a room, as the gateway knows it.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    pub(super) room: RoomId,
    pub(super) user: UserId,
    pub(super) epoch: u64,
    /// What the client's token said about it when it joined. A later token counts from the next join on: like a state, an info
    /// only changes by an operation.
    pub(super) info: Option<Info>,
    pub(super) state: Box<RawValue>,
    /// The operation that set `info` and `state`.
    pub(super) base_op: u64,
    /// Whether the join was answered. A join that was sent but not answered may have been carried out.
    pub(super) joined: bool,
}

/// An operation whose answer was lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unanswered {
    pub(super) op: u64,
    /// Whether it may have raised the epoch: then a heartbeat without a patch has to ask Redis, too.
    pub(super) raises_epoch: bool,
}

/// The data of one session.
pub(super) struct Session(Mutex<State>);

struct State {
    queue: VecDeque<Op>,
    /// Whether a worker is carrying out operations.
    busy: bool,
    /// Boxed: it is most of a session's memory, and a socket that has not joined has none.
    membership: Option<Box<Membership>>,
    standing: Standing,
    /// The last operation that was numbered.
    op: u64,
    /// The highest epoch that the connection ever had.
    epoch: u64,
    /// An operation whose answer was lost while the connection was a member: Redis may have a newer record than `membership`
    /// says.
    unanswered: Option<Unanswered>,
    /// Boxed: most sockets never have locks.
    locks: Option<Box<Locks>>,
    /// Counts the session until its end is carried out.
    count: Option<Counted>,
    flow: Arc<Flow>,
}

impl State {
    fn take_locks(&mut self) -> TakenLocks {
        self.op += 1;
        let own = self.membership.as_ref().map(|own| own.room.clone());
        TakenLocks { locks: self.locks.take(), own, op: self.op }
    }

    fn joined(&self) -> Option<&Membership> {
        self.membership.as_deref().filter(|own| own.joined)
    }

    /// Whether a request fits the queue. One join fits even if the queue is full: otherwise a client that first sends what it
    /// buffered while offline, and then joins, could never become a member.
    fn has_room_for(&self, request: &Request) -> bool {
        let is_join = matches!(request, Request::Join { .. });
        self.queue.len() < QUEUE || (is_join && !self.queue.iter().any(Op::is_join))
    }

    /// Returns whether a worker has to be started.
    fn push(&mut self, op: Op) -> bool {
        self.queue.push_back(op);
        !std::mem::replace(&mut self.busy, true)
    }
}

impl Session {
    pub(super) fn new(count: Counted, flow: Arc<Flow>) -> Self {
        Self(Mutex::new(State {
            queue: VecDeque::new(),
            busy: false,
            membership: None,
            standing: Standing::Known,
            op: 0,
            epoch: 0,
            unanswered: None,
            locks: None,
            count: Some(count),
            flow,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

/// The queue.
impl Session {
    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        !self.lock().busy
    }

    /// Queues an event of the client, and returns whether a worker has to be started. If too many wait, returns the
    /// acknowledgement as the error.
    pub(super) fn push_event(&self, request: Request, ack: Ack) -> Result<bool, Ack> {
        let mut state = self.lock();
        if !state.has_room_for(&request) {
            return Err(ack);
        }
        let starts = state.push(Op::Request(request, ack));
        if state.queue.len() == NEARLY_FULL {
            state.flow.queue_is_full();
        }
        Ok(starts)
    }

    /// Queues an operation even if the queue is full. Returns whether a worker has to be started.
    pub(super) fn push(&self, op: Op) -> bool {
        self.lock().push(op)
    }

    /// Queues the expiry of a silent client: once at a time, and only for a member that has not expired.
    pub(super) fn push_expiry(&self) -> bool {
        let mut state = self.lock();
        let is_due = state.joined().is_some() && state.standing != Standing::Expired;
        is_due && !state.queue.iter().any(|op| matches!(op, Op::Expire)) && state.push(Op::Expire)
    }

    /// Takes the next operation; if there is none, the session becomes idle.
    pub(super) fn next(&self) -> Option<Op> {
        let mut state = self.lock();
        let op = state.queue.pop_front();
        state.busy = op.is_some();
        if state.queue.len() <= NEARLY_EMPTY {
            state.flow.queue_has_room();
        }
        if op.is_none() {
            // An idle session keeps no memory for the queue.
            state.queue = VecDeque::new();
        }
        op
    }

    /// The session ends; it is counted until the guard is dropped.
    pub(super) fn end(&self) -> Option<Counted> {
        self.lock().count.take()
    }
}

/// Membership and its numbers.
impl Session {
    /// The membership. Only the session's own worker changes it.
    pub(super) fn membership(&self) -> Option<Membership> {
        self.lock().membership.as_deref().cloned()
    }

    pub(super) fn set_membership(&self, own: Option<Membership>) {
        let mut state = self.lock();
        if let Some(own) = &own {
            state.epoch = state.epoch.max(own.epoch);
        }
        // Redis has said what the record is.
        if own.as_ref().is_none_or(|own| own.joined) {
            state.unanswered = None;
        }
        state.membership = own.map(Box::new);
    }

    /// The answer to an operation of a member was lost: it may have been carried out, or may be yet.
    pub(super) fn was_not_answered(&self, unanswered: Unanswered) {
        self.lock().unanswered = Some(unanswered);
    }

    /// The room says what the record of the connection is. If that is newer than the last answer, because an answer was lost, the
    /// session takes it: no epoch and no state goes back when the record is restored.
    pub(super) fn recorded(&self, epoch: u64, op: u64, info: Option<&Info>, state_text: &str) {
        let mut state = self.lock();
        if state.unanswered.is_none_or(|unanswered| op < unanswered.op) {
            return;
        }
        let Ok(record) = RawValue::from_string(state_text.to_owned()) else { return };
        state.epoch = state.epoch.max(epoch);
        if let Some(own) = state.membership.as_mut().filter(|own| own.joined && own.base_op < op) {
            (own.epoch, own.base_op, own.info, own.state) = (epoch, op, info.cloned(), record);
        }
        state.unanswered = None;
    }

    /// The room that the connection is in.
    pub(super) fn joined_room(&self) -> Option<RoomId> {
        self.lock().joined().map(|own| own.room.clone())
    }

    /// The user of the connection in its room.
    pub(super) fn joined_user(&self) -> Option<UserId> {
        self.lock().joined().map(|own| own.user.clone())
    }

    /// Whether Redis should have a record of the connection in `room`.
    pub(super) fn is_member_of(&self, room: &RoomId) -> bool {
        let state = self.lock();
        state.standing != Standing::Expired && state.joined().is_some_and(|own| own.room == *room)
    }

    /// That record.
    pub(super) fn record(&self, conn: &ConnId, room: &RoomId) -> Option<Restored> {
        let state = self.lock();
        let own = state.joined().filter(|own| own.room == *room && state.standing != Standing::Expired)?;
        Some(Restored {
            conn: conn.clone(),
            user: own.user.clone(),
            op: own.base_op,
            epoch: own.epoch,
            info: own.info.clone(),
            state: own.state.clone(),
        })
    }

    /// The highest epoch that the connection ever had.
    pub(super) fn highest_epoch(&self) -> u64 {
        self.lock().epoch
    }

    pub(super) fn next_op_number(&self) -> u64 {
        let mut state = self.lock();
        state.op += 1;
        state.op
    }
}

/// Locks.
impl Session {
    /// Runs `access` on the locks that the session holds and waits for. It has to return the entries that it removes, see
    /// [`held`](super::held).
    pub(super) fn locks<T>(&self, access: impl FnOnce(&mut Locks) -> T) -> T {
        let mut state = self.lock();
        let result = access(state.locks.get_or_insert_default());
        if state.locks.as_ref().is_some_and(|locks| locks.count() == 0) {
            state.locks = None;
        }
        result
    }

    /// Takes all locks from the session.
    pub(super) fn take_locks(&self) -> TakenLocks {
        self.lock().take_locks()
    }
}

pub(super) fn not_joined() -> Fault {
    Fault::new(Code::NotJoined, "join a room first")
}
