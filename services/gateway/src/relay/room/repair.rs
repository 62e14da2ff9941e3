//! Repairs of a room: when one begins, what it asks for, how the room continues. Also the catch-up of members that had no room
//! for an event: the roster brings them up to date, which costs Redis and the other members nothing.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rollcall_protocol::{ConnId, Position, RoomId};

use super::{
    BEHIND_LIMIT, Phase, RETRY_AFTER, Room, position::may_follow, recovery::Recovery, resync::Resync, roster::Known,
    sink::Sink, subscriber::Subscriber,
};

/// When a member that fell behind is tried first, and again while it reads: its queue takes 512 events at a time, so the leaves of
/// 10,000 members that left together are sent within 1 s. With [`RETRY_AFTER`] it would be 5 s.
pub(in crate::relay) const READS_ON_AFTER: Duration = Duration::from_millis(25);

/// The result of a repair.
pub(in crate::relay) enum Repaired<S> {
    /// Events are still missing: another snapshot is needed.
    Not,
    /// The room is live.
    Done {
        /// When to repair again, because the room recovers until then. `None` if that is already scheduled.
        recovers_until: Option<Instant>,
        /// Members that have no room in their queues for what they missed.
        behind: Behind<S>,
    },
}

/// Members that have no room in their queues for what they missed.
pub(in crate::relay) struct Behind<S> {
    /// When to try again.
    pub(in crate::relay) next: Option<Instant>,
    /// Members that took nothing for too long, and were removed.
    pub(in crate::relay) late: Vec<S>,
}

impl<S: Sink> Room<S> {
    /// Events may be missing. Returns the number of the repair that begins. If one is under way, it fetches another snapshot
    /// instead. Before the first join was answered none begins: the answer is a snapshot, and a repair follows it if needed.
    pub(in crate::relay) fn begin_repair(&mut self) -> Option<u64> {
        if self.is_idle() {
            self.forget();
        }
        match &mut self.phase {
            Phase::Unknown { missed } => *missed = self.joins.any(),
            Phase::Live(at) => {
                self.repairs += 1;
                self.phase = Phase::Repairing { at: *at, number: self.repairs, again: false };
                return Some(self.repairs);
            }
            Phase::Repairing { again, .. } => *again = true,
        }
        None
    }

    /// Whether this repair is still under way. If the room has no members left here, it is forgotten.
    pub(in crate::relay) fn repairs(&mut self, number: u64) -> bool {
        if self.is_idle() {
            self.forget();
        }
        matches!(self.phase, Phase::Repairing { number: current, .. } if current == number)
    }

    /// Redis may have lost data, or come back with older data, after `calm_ms` of its clock. Until `until`, members that a
    /// snapshot lacks stay as they are.
    pub(in crate::relay) fn begin_recovery(&mut self, until: Instant, calm_ms: u64) {
        if self.position().is_some() {
            self.subscribers.values_mut().for_each(|subscriber| subscriber.forked = true);
            let recovery = self.recover(until);
            recovery.has_asked = false;
            recovery.since_ms = calm_ms;
        }
    }

    pub(super) fn recover(&mut self, until: Instant) -> &mut Recovery {
        let recovery = self.recovery.get_or_insert_with(|| Recovery::new(until));
        recovery.look_planned &= recovery.until >= until;
        recovery.until = recovery.until.max(until);
        recovery
    }

    /// A snapshot is about to be asked for by this repair; none if it is not under way any more. Answers what need not be
    /// fetched again, none when someone needs a snapshot whatever it says; and how far the room has been received.
    pub(in crate::relay) fn ask(&mut self, repair: u64) -> Option<(Option<Position>, u64)> {
        if !self.repairs(repair) {
            return None;
        }
        self.recovery.iter_mut().for_each(|recovery| recovery.has_asked = true);
        let may_go_on = |at: &Position| {
            self.subscribers.iter().all(|(conn, one)| !one.is_behind() || self.continues(conn, one, *at))
        };
        let known = self.position().filter(|at| self.recovery.is_none() && !self.forked && may_go_on(at));
        Some((known, self.backlog.received()))
    }

    /// Whether the roster at `at` certainly continues what a member was shown. It does not if the member's answer was of another
    /// history, or newer.
    fn continues(&self, conn: &ConnId, subscriber: &Subscriber<S>, at: Position) -> bool {
        let is_older = |(conn, was): (&ConnId, Option<&Known>)| {
            was.zip(self.roster.get(conn.as_str())).is_some_and(|(was, is)| is.age() < was.age())
        };
        !subscriber.forked
            && may_follow(subscriber.at, at)
            && self.roster.get(conn.as_str()).is_some()
            && !subscriber.shown.iter().any(is_older)
    }

    /// Brings members that are behind up to date from the roster, which is what Redis had at `seen_ms`. Not while the room
    /// recovers or has forked, and not members that joined since and may be ahead. Returns whether a member took a part of it and
    /// has no room for the rest yet.
    pub(in crate::relay) fn bring_up_to_date(&mut self, id: &RoomId, seen_ms: u64) -> bool {
        let Some(at) = self.position().filter(|_| self.recovery.is_none() && !self.forked) else { return false };
        let behind = self.subscribers.iter().filter(|(conn, one)| one.is_behind() && self.continues(conn, one, at));
        let behind: HashSet<_> = behind.map(|(conn, _)| conn.clone()).collect();
        let none = HashSet::new();
        let resync = Resync::new(id, at, seen_ms, &self.roster, &none);
        let behind = self.subscribers.iter_mut().filter(|(conn, _)| behind.contains(*conn));
        behind.fold(false, |reads_on, (_, one)| one.bring_up_to_date(&resync, false) || reads_on)
    }

    /// Brings members that are behind up to date, as of `seen_ms`. If the roster does not suffice, a snapshot is wanted. During a
    /// repair this does nothing: the end of the repair does it.
    pub(in crate::relay) fn catch_up_members(&mut self, id: &RoomId, seen_ms: u64, now: Instant) -> Behind<S> {
        if self.is_repairing() {
            return Behind { next: None, late: Vec::new() };
        }
        let reads_on = self.bring_up_to_date(id, seen_ms);
        let at = self.position().filter(|_| self.recovery.is_none() && !self.forked);
        let is_stuck =
            |conn: &ConnId, one: &Subscriber<S>| one.is_behind() && at.is_none_or(|at| !self.continues(conn, one, at));
        self.wanted.snapshot |= self.subscribers.iter().any(|(conn, one)| is_stuck(conn, one));
        self.take_behind(reads_on, now)
    }

    fn take_behind(&mut self, reads_on: bool, now: Instant) -> Behind<S> {
        let is_late =
            |one: &Subscriber<S>| one.behind_since.is_some_and(|since| now.duration_since(since) > BEHIND_LIMIT);
        let late = self.subscribers.extract_if(|_, one| is_late(one)).map(|(_, one)| one.sink).collect();
        let after = if reads_on { READS_ON_AFTER } else { RETRY_AFTER };
        Behind { next: self.subscribers.values().any(Subscriber::is_behind).then(|| now + after), late }
    }

    /// The snapshot, if one was needed, is applied: continues with the events that waited. `received` is the number of events that
    /// were received before the snapshot was requested, `reads_on` whether a member took a part of what it missed.
    pub(in crate::relay) fn go_on(&mut self, id: &RoomId, received: u64, reads_on: bool, now: Instant) -> Repaired<S> {
        let mut fits = self.apply_backlog(id);
        if !fits {
            self.backlog.drop_received(received);
            fits = self.apply_backlog(id);
        }
        if let Phase::Repairing { at, again, .. } = &mut self.phase {
            if std::mem::take(again) || !fits {
                return Repaired::Not;
            }
            self.phase = Phase::Live(*at);
        }
        let plan =
            |recovery: &mut Recovery| (!std::mem::replace(&mut recovery.look_planned, true)).then_some(recovery.until);
        let recovers_until = self.recovery.as_mut().and_then(plan);
        Repaired::Done { recovers_until, behind: self.take_behind(reads_on, now) }
    }

    /// The snapshot of this repair cannot be read. Answers who is no member any more; no one if it is not under way.
    pub(in crate::relay) fn give_up_repair(&mut self, repair: u64) -> Vec<S> {
        if self.repairs(repair) { self.give_up() } else { Vec::new() }
    }

    /// The snapshot cannot be read: no one here is a member any more. Answers who was. A join under way begins the room again,
    /// and what it missed meanwhile is looked for.
    pub(super) fn give_up(&mut self) -> Vec<S> {
        let members = self.subscribers.drain().map(|(_, subscriber)| subscriber.sink).collect();
        self.forget();
        self.phase = Phase::Unknown { missed: self.joins.any() };
        members
    }
}
