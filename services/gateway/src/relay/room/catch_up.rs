//! The catch-up of members that had no room for an event: the roster brings them up to date, which costs Redis and the other
//! members nothing. Each pass tries everyone who is behind, and takes as many turns as it needs: what is sent in a turn is bounded,
//! so that neither the room nor the process waits while a thousand members are sent megabytes each.

use std::{
    cell::Cell,
    collections::HashSet,
    time::{Duration, Instant},
};

use rollcall_protocol::{ConnId, Position, RoomId};

use super::{
    BEHIND_LIMIT, RETRY_AFTER, Room, position::may_follow, resync::Resync, roster::Known, sink::Sink,
    subscriber::Subscriber,
};

/// When a member that fell behind is tried first, and again while it reads: its queue takes 512 events at a time, so the leaves of
/// 10,000 members that left together are sent within 1 s. With [`RETRY_AFTER`] it would be 5 s.
pub(in crate::relay) const READS_ON_AFTER: Duration = Duration::from_millis(25);
/// A turn ends with the message that makes it so many bytes: what one member of the largest room is sent. Of a room of 1,000 with small
/// states that are the syncs of forty.
const TURN_BYTES: usize = 8 * 1024 * 1024;

/// Members that have no room in their queues for what they missed, or had no turn yet.
pub(in crate::relay) struct Behind<S> {
    /// When to go on.
    pub(in crate::relay) next: Option<Instant>,
    /// Members that took nothing for too long, and were removed.
    pub(in crate::relay) late: Vec<S>,
    /// The bytes that members were sent.
    pub(in crate::relay) sent: usize,
}

/// What may be sent in a turn, and what was.
pub(super) struct Turn {
    most: usize,
    sent: Cell<usize>,
}

impl Turn {
    /// Has no end: for what cannot be divided.
    pub(super) fn endless() -> Self {
        Self { most: usize::MAX, sent: Cell::new(0) }
    }

    pub(super) fn is_over(&self) -> bool {
        self.sent.get() >= self.most
    }

    /// Sends a message of so many bytes with `send`, unless the turn is over; returns whether it was sent.
    pub(super) fn send(&self, bytes: usize, send: impl FnOnce() -> bool) -> bool {
        let sent = !self.is_over() && send();
        if sent {
            self.sent.set(self.sent.get().saturating_add(bytes));
        }
        sent
    }
}

/// The pass under way.
pub(super) struct Pass {
    turn_bytes: usize,
    /// When it began: who is behind since then was not tried.
    began: Option<Instant>,
    /// Who is still to be tried.
    rest: Vec<ConnId>,
    /// What the latest turns say of the next one.
    after: Duration,
    sent: usize,
}

impl Default for Pass {
    fn default() -> Self {
        Self { turn_bytes: TURN_BYTES, began: None, rest: Vec::new(), after: RETRY_AFTER, sent: 0 }
    }
}

impl Pass {
    pub(super) fn turn(&self) -> Turn {
        Turn { most: self.turn_bytes, sent: Cell::new(0) }
    }

    /// Everyone is tried.
    pub(super) fn begin(&mut self, rest: Vec<ConnId>) {
        (self.began, self.rest) = (Some(Instant::now()), rest);
    }

    /// If the turn is over, the next one comes at once, after others had theirs.
    pub(super) fn had(&mut self, turn: &Turn) {
        self.sent += turn.sent.get();
        if turn.is_over() {
            self.after = Duration::ZERO;
        }
    }

    /// No one is left to be tried.
    pub(super) fn forget(&mut self) {
        self.rest = Vec::new();
    }

    #[cfg(test)]
    pub(super) fn set_turn_bytes(&mut self, bytes: usize) {
        self.turn_bytes = bytes;
    }
}

impl<S: Sink> Room<S> {
    /// Whether the roster at `at` certainly continues what a member was shown. It does not if the member's answer was of another
    /// history, or newer.
    pub(super) fn continues(&self, conn: &ConnId, subscriber: &Subscriber<S>, at: Position) -> bool {
        let is_older = |(conn, was): (&ConnId, Option<&Known>)| {
            was.zip(self.roster.get(conn.as_str())).is_some_and(|(was, is)| is.age() < was.age())
        };
        !subscriber.forked
            && may_follow(subscriber.at, at)
            && self.roster.get(conn.as_str()).is_some()
            && !subscriber.shown.iter().any(is_older)
    }

    /// The position of the roster, if members that are behind may be brought up to date from it: not while the room recovers or has
    /// forked.
    fn certain_position(&self) -> Option<Position> {
        self.position().filter(|_| self.recovery.is_none() && !self.forked)
    }

    /// Takes a turn of bringing members that are behind up to date from the roster, which is what Redis had at `seen_ms`; not members
    /// that joined since and may be ahead.
    pub(in crate::relay) fn bring_up_to_date(&mut self, id: &RoomId, seen_ms: u64) {
        let Some(at) = self.certain_position() else { return };
        if self.pass.rest.is_empty() {
            let behind = self.subscribers.iter().filter(|(_, one)| one.is_behind());
            let behind = behind.map(|(conn, _)| conn.clone()).collect();
            self.pass.begin(behind);
        }
        let mut rest = std::mem::take(&mut self.pass.rest);
        let (none, turn) = (HashSet::new(), self.pass.turn());
        let resync = Resync::new(id, at, seen_ms, &self.roster, &none, &turn);
        while !turn.is_over()
            && let Some(conn) = rest.pop()
        {
            let is_next = |one: &&Subscriber<S>| one.is_behind() && self.continues(&conn, one, at);
            if self.subscribers.get(&conn).filter(is_next).is_none() {
                continue;
            }
            let Some(one) = self.subscribers.get_mut(&conn) else { continue };
            let reads_on = one.bring_up_to_date(&resync, false);
            if turn.is_over() && one.is_behind() {
                rest.push(conn);
            } else if reads_on {
                self.pass.after = READS_ON_AFTER.min(self.pass.after);
            }
        }
        self.pass.rest = rest;
        self.pass.had(&turn);
    }

    /// Takes a turn of bringing members that are behind up to date, as of `seen_ms`. If the roster does not suffice, a snapshot is
    /// wanted. During a repair this does nothing: the end of the repair does it.
    pub(in crate::relay) fn catch_up_members(&mut self, id: &RoomId, seen_ms: u64, now: Instant) -> Behind<S> {
        if self.is_repairing() {
            return Behind { next: None, late: Vec::new(), sent: 0 };
        }
        self.bring_up_to_date(id, seen_ms);
        if self.pass.rest.is_empty() {
            let at = self.certain_position();
            let is_stuck = |conn: &ConnId, one: &Subscriber<S>| {
                one.is_behind() && at.is_none_or(|at| !self.continues(conn, one, at))
            };
            self.wanted.snapshot |= self.subscribers.iter().any(|(conn, one)| is_stuck(conn, one));
        }
        self.take_behind(now)
    }

    /// Who is behind after a turn.
    pub(super) fn take_behind(&mut self, now: Instant) -> Behind<S> {
        let Pass { began, rest, after, sent, .. } = &mut self.pass;
        let (after, sent) = (std::mem::replace(after, RETRY_AFTER), std::mem::take(sent));
        let had_all_a_turn = rest.is_empty() && !after.is_zero();
        let is_late = |one: &Subscriber<S>| {
            one.behind_since.is_some_and(|since| *began >= Some(since) && now.duration_since(since) > BEHIND_LIMIT)
        };
        let late = self.subscribers.extract_if(|_, one| had_all_a_turn && is_late(one));
        let late = late.map(|(_, one)| one.sink).collect();
        Behind { next: self.subscribers.values().any(Subscriber::is_behind).then(|| now + after), late, sent }
    }
}
