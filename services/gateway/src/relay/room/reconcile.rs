//! Applies a snapshot after a gap: it becomes the roster, and members are sent what they missed and then the full roster. No I/O:
//! `dirty` fetches the snapshots.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rollcall_protocol::{ConnId, Position, RoomId, command::Snapshot};

use super::{
    Room,
    position::{contradict, may_follow},
    resync::Resync,
    roster::{Known, Roster},
    shown::Shown,
    sink::Sink,
    subscriber::Subscriber,
    turn::Turn,
};

/// The positions of a snapshot and of the room before it.
#[derive(Clone, Copy)]
struct Step {
    /// The position of the snapshot.
    at: Position,
    /// The position of the room before it.
    before: Option<Position>,
}

impl Step {
    /// Whether events were missed.
    fn missed(self) -> bool {
        self.before != Some(self.at)
    }

    /// Whether the snapshot is of another history than the room was.
    fn is_other(self) -> bool {
        self.before.is_none_or(|before| !may_follow(before, self.at))
    }

    /// Whether the answer to a join is newer than the room was.
    fn is_beyond(self, answer: Position) -> bool {
        self.before.is_none_or(|before| answer.token > before.token)
    }

    /// Whether a member's join was answered after the snapshot was taken. The events since wait.
    fn is_later<S>(self, subscriber: &Subscriber<S>) -> bool {
        !subscriber.forked && subscriber.at.token > self.at.token && self.is_beyond(subscriber.at)
    }
}

impl<S: Sink> Room<S> {
    /// Applies a snapshot that was requested at `asked_at`. If the room turns out to have started over, it recovers for `recovery`
    /// from then on; until `calm_ms` of Redis' clock nothing was lost. Returns the members here that Redis lacks or has older.
    pub(in crate::relay) fn reconcile(
        &mut self,
        id: &RoomId,
        snapshot: &Snapshot,
        asked_at: Instant,
        recovery: Duration,
        calm_ms: u64,
    ) -> Vec<S> {
        // A snapshot that was requested before the recovery began may be older than the loss; another one is fetched.
        if self.recovery.as_ref().is_some_and(|recovery| !recovery.has_asked) {
            return Vec::new();
        }
        // What the room said before the snapshot was taken is no gap.
        self.apply_backlog_to(id, snapshot.at);
        let step = Step { at: snapshot.at, before: self.position() };
        let mut roster = Roster::of(snapshot.members.iter());
        self.mark_forked(step.at);
        let is_lost = self.has_lost(&roster, step);
        self.forked = false;
        let was_over = self.recovery.as_ref().is_some_and(|recovery| recovery.until <= asked_at);
        if is_lost && (was_over || self.recovery.is_none()) {
            let recovery = self.recover(asked_at + recovery);
            recovery.has_asked = true;
            recovery.since_ms = calm_ms;
        }
        let is_over = was_over && !is_lost;
        let keeps = self.recovery.is_some() && !is_over;
        let held_back = if keeps { self.hold_back(&mut roster, step) } else { HashSet::new() };
        let before = std::mem::replace(&mut self.roster, roster);
        if step.missed() {
            self.move_to(step.at);
            self.joins.forget();
        }
        let before = Shown::between(&before, &self.roster);
        // Only a snapshot brings members up to date while the room recovers, and those of another history, so all are sent it now.
        let is_forked = self.subscribers.values().any(|one| one.forked);
        let turn = if keeps || is_forked { Turn::endless() } else { self.pass.turn() };
        let resync = Resync {
            everyone: step.missed() || is_over || !before.is_empty(),
            before,
            ..Resync::new(id, step.at, snapshot.seen_ms, &self.roster, &held_back, &turn)
        };
        for subscriber in self.subscribers.values_mut() {
            let is_later = step.is_later(subscriber);
            subscriber.bring_up_to_date(&resync, is_later);
        }
        if turn.is_over() {
            self.pass.forget();
        } else {
            self.pass.begin(Vec::new(), asked_at);
        }
        self.pass.record(&turn);
        self.subscribers.keys().for_each(|conn| self.repeat_record(conn));
        let is_lost = |conn: &str| held_back.contains(conn) || self.roster.get(conn).is_none();
        let lost = self.subscribers.iter().filter(|(conn, _)| is_lost(conn.as_str()));
        let lost = lost.map(|(_, one)| one.sink.clone()).collect();
        match &mut self.recovery {
            Some(recovery) if keeps && (recovery.keeps_out || !held_back.is_empty()) => recovery.held_back = held_back,
            recovery => *recovery = None,
        }
        lost
    }

    /// Marks members whose answers are of another history than the snapshot.
    fn mark_forked(&mut self, at: Position) {
        for subscriber in self.subscribers.values_mut().filter(|one| contradict(one.at, at)) {
            (subscriber.forked, self.forked) = (true, true);
        }
    }

    /// Whether Redis has lost something that was known here.
    fn has_lost(&self, roster: &Roster, step: Step) -> bool {
        // A record never goes back, and anyone who is a member here did not leave.
        let is_older = |conn: &ConnId, was: &Known| roster.get(conn.as_str()).is_some_and(|is| is.age() < was.age());
        let went_back = self.roster.iter().any(|(conn, was)| is_older(conn, was));
        let lacks = |conn: &ConnId, one: &Subscriber<S>| {
            let was = one.shown.get(conn).unwrap_or_else(|| self.roster.get(conn.as_str()));
            let is_lost = |was: &Known| roster.get(conn.as_str()).is_none_or(|is| is.age() < was.age());
            was.is_some_and(is_lost) && !step.is_later(one)
        };
        let lacks_own = self.recovery.is_none() && self.subscribers.iter().any(|(conn, one)| lacks(conn, one));
        self.forked || step.is_other() || went_back || lacks_own
    }

    /// The room recovers: members that the snapshot lacks or has older stay in the roster and are returned. Members that left,
    /// and whose leave Redis lost, stay out of it.
    fn hold_back(&mut self, roster: &mut Roster, step: Step) -> HashSet<ConnId> {
        let mut held_back = HashSet::new();
        if let Some(recovery) = &mut self.recovery {
            // A connection that the answer to a join showed to a member is in the room, although the roster does not have it.
            let shown = self.subscribers.values().flat_map(|subscriber| subscriber.shown.iter());
            let shown: HashSet<_> = shown.filter_map(|(conn, known)| known.map(|_| conn)).collect();
            let has_left = |conn: &ConnId, is: &Known| {
                self.roster.get(conn.as_str()).is_none()
                    && !self.subscribers.contains_key(conn)
                    && !shown.contains(conn)
                    && is.epoch < recovery.since_ms
            };
            recovery.keeps_out = roster.keep_out(has_left);
            let before = std::mem::take(&mut recovery.held_back);
            held_back.extend(before.into_iter().filter(|conn| roster.get(conn.as_str()).is_none()));
        }
        roster.hold_back(self.roster.iter(), &mut held_back);
        // An answer from before the loss may be newer than the events that were received. Its records that are newer than those of
        // the roster count for all members, the others only for the member that was answered.
        for (own, subscriber) in self.subscribers.iter_mut().filter(|(_, one)| !step.is_later(one)) {
            subscriber.forked |= step.is_beyond(subscriber.at);
            let shown = subscriber.shown.iter().filter_map(|(conn, known)| Some((conn, known?)));
            let counts = |conn: &ConnId| conn == own || roster.get(conn.as_str()).is_some();
            let (for_all, missing): (Vec<_>, Vec<_>) = shown.partition(|(conn, _)| counts(conn));
            roster.hold_back(for_all.into_iter(), &mut held_back);
            if subscriber.forked {
                held_back.extend(missing.into_iter().map(|(conn, _)| conn.clone()));
            }
        }
        held_back
    }
}
