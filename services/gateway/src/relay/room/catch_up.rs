//! The catch-up of members that had no room for an event: the roster brings them up to date, which costs Redis and the other
//! members nothing. A pass tries each member that is behind once, and takes as many turns as it needs: what is sent in a turn is
//! bounded, so that neither the room nor the process waits while a thousand members are sent megabytes each.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rollcall_protocol::{ConnId, Position, RoomId};

use super::{
    BEHIND_LIMIT, RETRY_AFTER, Room, position::may_follow, resync::Resync, roster::Known, sink::Sink,
    subscriber::Subscriber, turn::Turn,
};

/// When a member that fell behind is tried first, and again while it reads: its queue takes 512 events at a time, so the leaves of
/// 10,000 members that left together are sent within 1 s. With [`RETRY_AFTER`] it would be 5 s.
pub(in crate::relay) const READS_ON_AFTER: Duration = Duration::from_millis(25);
/// A turn ends with the message that makes it so many bytes. One member of the largest room is sent as much; in a room of 1,000 members
/// with small states it is what forty are sent.
const TURN_BYTES: usize = 8 * 1024 * 1024;

/// Members that have no room in their queues for what they missed, or were not tried yet.
pub(in crate::relay) struct Behind<S> {
    /// When to go on.
    pub(in crate::relay) next: Option<Instant>,
    /// Members that took nothing for too long, and were removed.
    pub(in crate::relay) late: Vec<S>,
    /// The bytes that members were sent.
    pub(in crate::relay) sent: usize,
}

/// The pass under way.
pub(super) struct Pass {
    turn_bytes: usize,
    /// When it began. Members that fell behind since then are not in it.
    began: Option<Instant>,
    /// The members that are still to be tried.
    rest: Vec<ConnId>,
    /// Whether a member took a part of what it lacks and has no room for more.
    reads_on: bool,
    /// Whether the latest turn was over before everything was sent.
    is_cut: bool,
    /// What was sent since this was last asked.
    sent: usize,
}

impl Default for Pass {
    fn default() -> Self {
        Self { turn_bytes: TURN_BYTES, began: None, rest: Vec::new(), reads_on: false, is_cut: false, sent: 0 }
    }
}

impl Pass {
    pub(super) fn turn(&self) -> Turn {
        Turn::of(self.turn_bytes)
    }

    /// Begins with all members that are behind, of which `rest` are still to be tried.
    pub(super) fn begin(&mut self, rest: Vec<ConnId>, now: Instant) {
        (self.began, self.rest, self.reads_on) = (Some(now), rest, false);
    }

    pub(super) fn record(&mut self, turn: &Turn) {
        self.sent += turn.sent();
        self.is_cut = turn.is_over();
    }

    /// When the next turn, or the next pass, begins.
    fn next_after(&self) -> Duration {
        match (self.is_cut || !self.rest.is_empty(), self.reads_on) {
            (true, _) => Duration::ZERO,
            (false, true) => READS_ON_AFTER,
            (false, false) => RETRY_AFTER,
        }
    }

    /// There is none: not all members that are behind were tried.
    pub(super) fn forget(&mut self) {
        (self.began, self.rest, self.is_cut) = (None, Vec::new(), false);
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
    pub(in crate::relay) fn bring_up_to_date(&mut self, id: &RoomId, seen_ms: u64, now: Instant) {
        let Some(at) = self.certain_position() else { return self.pass.forget() };
        if self.pass.rest.is_empty() {
            let behind = self.subscribers.iter().filter(|(_, one)| one.is_behind());
            let behind = behind.map(|(conn, _)| conn.clone()).collect();
            self.pass.begin(behind, now);
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
                // It had no chance to take the rest: the next pass, which begins at once, goes on with it.
                one.behind_since = Some(now);
            }
            self.pass.reads_on |= reads_on;
        }
        self.pass.rest = rest;
        self.pass.record(&turn);
    }

    /// Takes a turn of bringing members that are behind up to date, as of `seen_ms`. If the roster does not suffice, a snapshot is
    /// wanted. During a repair this does nothing: the end of the repair does it.
    pub(in crate::relay) fn catch_up_members(&mut self, id: &RoomId, seen_ms: u64, now: Instant) -> Behind<S> {
        if self.is_repairing() {
            return Behind { next: None, late: Vec::new(), sent: 0 };
        }
        self.bring_up_to_date(id, seen_ms, now);
        if self.pass.rest.is_empty() {
            let at = self.certain_position();
            let is_stuck = |conn: &ConnId, one: &Subscriber<S>| {
                one.is_behind() && at.is_none_or(|at| !self.continues(conn, one, at))
            };
            self.wanted.snapshot |= self.subscribers.iter().any(|(conn, one)| is_stuck(conn, one));
        }
        self.take_behind(now)
    }

    /// The members that are behind after a turn. At the end of a pass those are late that had taken nothing for 10 s when it began.
    pub(super) fn take_behind(&mut self, now: Instant) -> Behind<S> {
        let (after, sent) = (self.pass.next_after(), std::mem::take(&mut self.pass.sent));
        let tried = self.pass.began.filter(|_| self.pass.rest.is_empty());
        let is_late = |one: &Subscriber<S>| {
            let behind_for = tried.zip(one.behind_since).map(|(began, since)| began.saturating_duration_since(since));
            behind_for.is_some_and(|time| time > BEHIND_LIMIT)
        };
        let late = self.subscribers.extract_if(|_, one| is_late(one)).map(|(_, one)| one.sink).collect();
        Behind { next: self.subscribers.values().any(Subscriber::is_behind).then(|| now + after), late, sent }
    }
}
