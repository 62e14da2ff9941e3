//! One session as data: its membership of a room, what its client does not know yet, its locks, and the queue of what it does
//! next. Nothing here waits, sends or spawns.

mod standing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use parking_lot::{Mutex, MutexGuard};
use protocol::{Code, ConnId, Fault, RoomId, UserId, client::Request, command::Restored};
use serde_json::value::RawValue;

use self::standing::Standing;
use super::{
    ack::Ack,
    count::Counted,
    held::{Locks, Taken},
    op::Op,
};

/// Events of one client that may wait; one that sends more is refused `OVERLOADED`.
const QUEUE: usize = 64;

/// A connection's membership of a room, as the gateway knows it.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    pub(super) room: RoomId,
    pub(super) user: UserId,
    pub(super) epoch: u64,
    pub(super) state: Box<RawValue>,
    /// The operation that `state` stems from.
    pub(super) base_op: u64,
    /// Whether the join was answered; one that was sent but not answered may have happened.
    pub(super) joined: bool,
}

/// See the module.
pub(super) struct Session(Mutex<State>);

struct State {
    queue: VecDeque<Op>,
    /// Whether a worker is at it.
    busy: bool,
    /// Boxed: most of a session's memory is its membership, and a socket that has not joined has none.
    membership: Option<Box<Membership>>,
    standing: Standing,
    /// The last operation that was numbered.
    op: u64,
    /// The highest epoch that the connection ever had.
    epoch: u64,
    /// Boxed: most sockets never have one.
    locks: Option<Box<Locks>>,
    /// Counts the session until its end is carried out.
    count: Option<Counted>,
}

impl State {
    fn take_locks(&mut self) -> Taken {
        self.op += 1;
        let own = self.membership.as_ref().map(|own| own.room.clone());
        Taken { locks: self.locks.take(), own, op: self.op }
    }

    fn joined(&self) -> Option<&Membership> {
        self.membership.as_deref().filter(|own| own.joined)
    }

    /// A join has a place of its own behind a full queue: a client that sends what it wrote while it was offline, and then joins,
    /// would else never be a member.
    fn has_place_for(&self, request: &Request) -> bool {
        let is_join = matches!(request, Request::Join { .. });
        self.queue.len() < QUEUE || (is_join && !self.queue.iter().any(Op::is_join))
    }

    /// Says whether a worker has to be started.
    fn push(&mut self, op: Op) -> bool {
        self.queue.push_back(op);
        !std::mem::replace(&mut self.busy, true)
    }
}

impl Session {
    pub(super) fn new(count: Counted) -> Self {
        Self(Mutex::new(State {
            queue: VecDeque::new(),
            busy: false,
            membership: None,
            standing: Standing::Known,
            op: 0,
            epoch: 0,
            locks: None,
            count: Some(count),
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

    /// Takes an event of the client, or gives its acknowledgement back if too many wait. Says whether a worker has to be started.
    pub(super) fn push_event(&self, request: Request, ack: Ack) -> Result<bool, Ack> {
        let mut state = self.lock();
        if state.has_place_for(&request) { Ok(state.push(Op::Request(request, ack))) } else { Err(ack) }
    }

    /// Takes what has to be done whatever waits. Says whether a worker has to be started.
    pub(super) fn push(&self, op: Op) -> bool {
        self.lock().push(op)
    }

    /// The same for a client that fell silent: once at a time, and only of a member that has not expired.
    pub(super) fn push_expiry(&self) -> bool {
        let mut state = self.lock();
        let is_due = state.joined().is_some() && state.standing != Standing::Expired;
        is_due && !state.queue.iter().any(|op| matches!(op, Op::Expire)) && state.push(Op::Expire)
    }

    /// What the worker does next; with nothing left, the session is idle.
    pub(super) fn next(&self) -> Option<Op> {
        let mut state = self.lock();
        let op = state.queue.pop_front();
        state.busy = op.is_some();
        if op.is_none() {
            // An idle session keeps no room for a queue.
            state.queue = VecDeque::new();
        }
        op
    }

    /// Its end is about to be carried out; it is counted until the guard is dropped.
    pub(super) fn end(&self) -> Option<Counted> {
        self.lock().count.take()
    }
}

/// Membership and its numbers.
impl Session {
    /// The membership. Only the session's own worker changes it, one thing at a time.
    pub(super) fn membership(&self) -> Option<Membership> {
        self.lock().membership.as_deref().cloned()
    }

    pub(super) fn set_membership(&self, own: Option<Membership>) {
        let mut state = self.lock();
        if let Some(own) = &own {
            state.epoch = state.epoch.max(own.epoch);
        }
        state.membership = own.map(Box::new);
    }

    /// Who the connection is in its room.
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
    /// The locks that it holds and waits for. What `see` removes it has to return: see [`held`](super::held).
    pub(super) fn locks<T>(&self, see: impl FnOnce(&mut Locks) -> T) -> T {
        let mut state = self.lock();
        let result = see(state.locks.get_or_insert_default());
        if state.locks.as_ref().is_some_and(|locks| locks.count() == 0) {
            state.locks = None;
        }
        result
    }

    /// Takes all of them from it.
    pub(super) fn take_locks(&self) -> Taken {
        self.lock().take_locks()
    }
}

pub(super) fn not_joined() -> Fault {
    Fault::new(Code::NotJoined, "join a room first")
}
