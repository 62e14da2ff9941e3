//! A room after a gap: a snapshot becomes its roster, members receive what they missed and then the whole. No I/O: `dirty` fetches
//! the snapshots.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use protocol::{ConnId, Position, RoomId, command::Snapshot};

use super::{
    Room,
    position::{contradict, may_follow},
    resync::Resync,
    roster::{Known, Roster},
    shown::Shown,
    sink::Sink,
    subscriber::Subscriber,
};

/// How a snapshot stands to what was known before it.
#[derive(Clone, Copy)]
struct Turn {
    /// Where the snapshot was taken.
    at: Position,
    /// Where the room stood before.
    stood_at: Option<Position>,
}

impl Turn {
    /// The room said something that was not heard.
    fn missed(self) -> bool {
        self.stood_at != Some(self.at)
    }

    /// The snapshot is of another history than what was known.
    fn is_other(self) -> bool {
        self.stood_at.is_none_or(|stood| !may_follow(stood, self.at))
    }

    /// Whether an answer says more than was heard.
    fn is_beyond(self, answer: Position) -> bool {
        self.stood_at.is_none_or(|stood| answer.token > stood.token)
    }

    /// Who was answered later than the snapshot was taken stands beyond it, and what came since waits.
    fn is_later<S>(self, subscriber: &Subscriber<S>) -> bool {
        !subscriber.forked && subscriber.at.token > self.at.token && self.is_beyond(subscriber.at)
    }
}

impl<S: Sink> Room<S> {
    /// Takes a snapshot that was asked for at `asked_at`. A room that turns out to have started over recovers for `recovery`
    /// from then on; at `calm_ms` of Redis' clock nothing was lost yet. Answers the members here that Redis lacks, or has older.
    pub(in crate::relay) fn reconcile(
        &mut self,
        id: &RoomId,
        snapshot: &Snapshot,
        asked_at: Instant,
        recovery: Duration,
        calm_ms: u64,
    ) -> Vec<S> {
        // A snapshot from before says nothing of what is lost since; another one is fetched.
        if self.recovery.as_ref().is_some_and(|recovery| !recovery.has_asked) {
            return Vec::new();
        }
        // What the room said before the snapshot was taken is no gap.
        self.apply_backlog_to(id, snapshot.at);
        let turn = Turn { at: snapshot.at, stood_at: self.position() };
        let mut roster = Roster::of(snapshot.members.iter());
        self.mark_forked(turn.at);
        let is_lost = self.has_lost(&roster, turn);
        self.forked = false;
        let was_over = self.recovery.as_ref().is_some_and(|recovery| recovery.until <= asked_at);
        if is_lost && (was_over || self.recovery.is_none()) {
            let recovery = self.recover(asked_at + recovery);
            recovery.has_asked = true;
            recovery.since_ms = calm_ms;
        }
        let is_over = was_over && !is_lost;
        let keeps = self.recovery.is_some() && !is_over;
        let held_back = if keeps { self.hold_back(&mut roster, turn) } else { HashSet::new() };
        let before = std::mem::replace(&mut self.roster, roster);
        if turn.missed() {
            self.move_to(turn.at);
            self.joins.forget();
        }
        let before = Shown::between(&before, &self.roster);
        let resync = Resync {
            everyone: turn.missed() || is_over || !before.is_empty(),
            before,
            ..Resync::new(id, turn.at, snapshot.seen_ms, &self.roster, &held_back)
        };
        for subscriber in self.subscribers.values_mut() {
            let is_later = turn.is_later(subscriber);
            subscriber.bring_up_to_date(&resync, is_later);
        }
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
    fn has_lost(&self, roster: &Roster, turn: Turn) -> bool {
        // A record never goes back, and anyone who is a member here did not leave.
        let is_older = |conn: &ConnId, was: &Known| roster.get(conn.as_str()).is_some_and(|is| is.age() < was.age());
        let went_back = self.roster.iter().any(|(conn, was)| is_older(conn, was));
        let lacks = |conn: &ConnId, one: &Subscriber<S>| {
            let was = one.shown.get(conn).unwrap_or_else(|| self.roster.get(conn.as_str()));
            let is_lost = |was: &Known| roster.get(conn.as_str()).is_none_or(|is| is.age() < was.age());
            was.is_some_and(is_lost) && !turn.is_later(one)
        };
        let lacks_own = self.recovery.is_none() && self.subscribers.iter().any(|(conn, one)| lacks(conn, one));
        self.forked || turn.is_other() || went_back || lacks_own
    }

    /// The room recovers: members that the snapshot lacks or has older stay in its roster, and are returned; those who left
    /// before Redis lost that stay out of it.
    fn hold_back(&mut self, roster: &mut Roster, turn: Turn) -> HashSet<ConnId> {
        let mut held_back = HashSet::new();
        if let Some(recovery) = &mut self.recovery {
            // Who was shown to someone by an answer is here, though the roster has not heard of it.
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
        // An answer that was given before Redis lost something may know more than was heard. Records that are newer than those of
        // the roster count for all, others only for the one who was answered.
        for (own, subscriber) in self.subscribers.iter_mut().filter(|(_, one)| !turn.is_later(one)) {
            subscriber.forked |= turn.is_beyond(subscriber.at);
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
