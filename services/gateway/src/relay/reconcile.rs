//! A room after a gap: a snapshot becomes its truth, members receive what they missed and then the whole, and what came
//! meanwhile goes on from there. No I/O: `repair` fetches the snapshots.

use std::{
    cell::OnceCell,
    collections::HashSet,
    time::{Duration, Instant},
};

use protocol::{ConnId, Position, RoomId, command::Snapshot};

use super::{
    room::{State, contradict},
    roster::{Known, Roster},
    seat::{Seat, Shown, Sink},
    truth::Truth,
};

/// A room that began anew, or whose history forked, recovers for this long if nothing was said of a longer time: gateways
/// restore their own connections meanwhile.
pub(super) const RECOVERY: Duration = Duration::from_secs(4);
/// A socket that does not take what it must know for this long is closed.
pub(super) const BEHIND_LIMIT: Duration = Duration::from_secs(10);
/// When a socket is tried again that has no room for what it must know.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// The same where nothing but the rest of it is missing and the socket takes it bit by bit: 512 events at a time, so that those
/// of 10,000 members who left together are sent within a second and not within five. Nothing is fetched for it.
const READS_ON_AFTER: Duration = Duration::from_millis(25);

/// Redis may have lost what it said of a room. Until the time is over, members that a snapshot lacks, or has older than the
/// roster, stay as they are: their gateways restore them, and no one is sent a false leave.
pub(super) struct Recovery {
    pub(super) until: Instant,
    /// Who was kept at the last snapshot and has not been restored since.
    held_back: HashSet<ConnId>,
    /// Records that are older than this, in milliseconds of Redis' clock, and that the roster does not have, are of connections
    /// that left, and whose leave Redis lost: their gateways remove them. 0 before it is known.
    since_ms: u64,
    /// The last snapshot had such records.
    pub(super) keeps_out: bool,
    /// A snapshot was asked for since it began.
    has_asked: bool,
    /// Somebody has been asked to look again when the time is over.
    look_planned: bool,
}

impl Recovery {
    pub(super) fn new(until: Instant) -> Self {
        Self { until, held_back: HashSet::new(), since_ms: 0, keeps_out: false, has_asked: false, look_planned: false }
    }

    /// Redis said something of a connection; says whether it was the last one that was waited for.
    pub(super) fn hear(&mut self, conn: &str) -> bool {
        self.held_back.remove(conn) && self.held_back.is_empty()
    }
}

/// Whether a room that stood at `before` may stand at `at` later, if it did not begin anew and its history did not fork.
fn may_follow(before: Position, at: Position) -> bool {
    before.birth == at.birth && before <= at && !contradict(before, at)
}

/// Where a repair stands.
pub(super) enum Repaired<S> {
    /// What came meanwhile does not fit: another snapshot is needed.
    Not,
    /// The room goes on.
    Done {
        /// The room recovers until then, and no one looks again yet.
        recovers_until: Option<Instant>,
        /// Somebody has no room in its queue for what it must know: when to look again.
        behind_until: Option<Instant>,
        /// Who has had none for too long, and is no member any more.
        late: Vec<S>,
    },
}

impl<S: Sink> State<S> {
    /// Redis may have lost something, or have come back with older data, after `calm_ms` of its clock.
    pub(super) fn begin_recovery(&mut self, until: Instant, calm_ms: u64) {
        if self.has_begun() {
            self.seats.values_mut().for_each(|seat| seat.forked = true);
            self.recover(until);
            if let Some(recovery) = &mut self.recovery {
                recovery.has_asked = false;
                recovery.since_ms = calm_ms;
            }
        }
    }

    fn recover(&mut self, until: Instant) {
        let recovery = self.recovery.get_or_insert_with(|| Recovery::new(until));
        recovery.look_planned &= recovery.until >= until;
        recovery.until = recovery.until.max(until);
    }

    /// A snapshot is about to be asked for. Answers what need not be fetched again; none when somebody needs a snapshot
    /// whatever it says.
    pub(super) fn ask(&mut self) -> Option<Position> {
        self.recovery.iter_mut().for_each(|recovery| recovery.has_asked = true);
        let is_behind = self.seats.values().any(Seat::is_behind);
        let may_go_on = |at: &Position| self.seats.iter().all(|(conn, seat)| self.leads_on(conn, seat, *at));
        self.position.filter(|at| self.recovery.is_none() && !self.forked && (!is_behind || may_go_on(at)))
    }

    /// Whether the roster, which stands at `at`, is sure to be what follows on what a member was shown. It is not if its answer
    /// was of another history, or later.
    fn leads_on(&self, conn: &ConnId, seat: &Seat<S>, at: Position) -> bool {
        let is_older = |(conn, was): (&ConnId, Option<&Known>)| {
            was.zip(self.roster.get(conn.as_str())).is_some_and(|(was, is)| is.age() < was.age())
        };
        !seat.forked
            && may_follow(seat.at, at)
            && self.roster.get(conn.as_str()).is_some()
            && !seat.shown.iter().any(is_older)
    }

    /// The room stands where it is known, as of `seen_ms`: members that are behind go on from the roster. Not where the room
    /// turned out to be another meanwhile, nor those who were seated since and may be ahead: the next look is for them.
    pub(super) fn bring_up_to_date(&mut self, id: &RoomId, seen_ms: u64) {
        let Some(at) = self.position.filter(|_| self.recovery.is_none() && !self.forked) else { return };
        let go_on: HashSet<_> = self
            .seats
            .iter()
            .filter(|(conn, seat)| seat.is_behind() && self.leads_on(conn, seat, at))
            .map(|(conn, _)| conn.clone())
            .collect();
        let truth = Truth {
            id,
            at,
            seen_ms,
            roster: &self.roster,
            held_back: &HashSet::new(),
            everyone: false,
            before: Shown::default(),
            changes: OnceCell::new(),
            whole: OnceCell::new(),
        };
        for (_, seat) in self.seats.iter_mut().filter(|(conn, _)| go_on.contains(*conn)) {
            self.reads_on |= seat.bring_up_to_date(&truth, false);
        }
    }

    /// Takes a snapshot that was asked for at `asked_at` for the truth. A room that turns out to have begun anew recovers for
    /// `recovery` from then on; at `calm_ms` of Redis' clock nothing was lost yet. Answers the members here that Redis lacks, or
    /// has older.
    pub(super) fn reconcile(
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
        let at = snapshot.at;
        // What the room said before the snapshot was taken is no gap.
        self.catch_up_to(id, at);
        let stood_at = self.position;
        let missed = stood_at != Some(at);
        for seat in self.seats.values_mut().filter(|seat| contradict(seat.at, at)) {
            (seat.forked, self.forked) = (true, true);
        }
        let is_other = stood_at.is_none_or(|stood| !may_follow(stood, at));
        // Who was answered later than the snapshot was taken stands beyond it, and what came since waits.
        let is_beyond = |seat: Position| stood_at.is_none_or(|stood| seat.token > stood.token);
        let is_later = |seat: &Seat<S>| !seat.forked && seat.at.token > at.token && is_beyond(seat.at);
        let mut roster = Roster::of(snapshot.members.iter());
        // A record never goes back, and anyone who is seated here did not leave.
        let went_back = |conn: &ConnId, was: &Known| roster.get(conn.as_str()).is_some_and(|is| is.age() < was.age());
        let went_back = self.roster.iter().any(|(conn, was)| went_back(conn, was));
        let lacks = |conn: &ConnId, seat: &Seat<S>| {
            let was = seat.shown.get(conn).unwrap_or_else(|| self.roster.get(conn.as_str()));
            let is_lost = |was: &Known| roster.get(conn.as_str()).is_none_or(|is| is.age() < was.age());
            was.is_some_and(is_lost) && !is_later(seat)
        };
        let lacks_own = self.recovery.is_none() && self.seats.iter().any(|(conn, seat)| lacks(conn, seat));
        let is_over = self.recovery.as_ref().is_some_and(|recovery| recovery.until <= asked_at);
        let is_lost = self.forked || is_other || went_back || lacks_own;
        self.forked = false;
        if is_lost && (is_over || self.recovery.is_none()) {
            self.recover(asked_at + recovery);
            if let Some(recovery) = &mut self.recovery {
                recovery.has_asked = true;
                recovery.since_ms = calm_ms;
            }
        }
        let is_over = is_over && !is_lost;
        let keeps = self.recovery.is_some() && !is_over;
        let mut held_back = HashSet::new();
        if keeps {
            if let Some(recovery) = &mut self.recovery {
                // Who was shown to somebody by an answer is here, though the roster has not heard of it.
                let shown = self.seats.values().flat_map(|seat| seat.shown.iter());
                let shown: HashSet<_> = shown.filter_map(|(conn, known)| known.map(|_| conn)).collect();
                let left = |conn: &ConnId, is: &Known| {
                    self.roster.get(conn.as_str()).is_none()
                        && !self.seats.contains_key(conn)
                        && !shown.contains(conn)
                        && is.epoch < recovery.since_ms
                };
                recovery.keeps_out = roster.keep_out(left);
            }
            let before = self.recovery.as_mut().map(|recovery| std::mem::take(&mut recovery.held_back));
            held_back.extend(before.into_iter().flatten().filter(|conn| roster.get(conn.as_str()).is_none()));
            roster.hold_back(self.roster.iter(), &mut held_back);
            // An answer that was given before Redis lost something may know more than was heard. Records that are newer than
            // those of the roster count for all, others only for the one who was answered.
            for (own, seat) in self.seats.iter_mut().filter(|(_, seat)| !is_later(seat)) {
                seat.forked |= is_beyond(seat.at);
                let shown = seat.shown.iter().filter_map(|(conn, known)| Some((conn, known?)));
                let counts = |conn: &ConnId| conn == own || roster.get(conn.as_str()).is_some();
                let (for_all, missing): (Vec<_>, Vec<_>) = shown.partition(|(conn, _)| counts(conn));
                roster.hold_back(for_all.into_iter(), &mut held_back);
                if seat.forked {
                    held_back.extend(missing.into_iter().map(|(conn, _)| conn.clone()));
                }
            }
        }
        let before = std::mem::replace(&mut self.roster, roster);
        if missed {
            self.jump(at);
        }
        let changed = before.where_not(&self.roster);
        let truth = Truth {
            id,
            at,
            seen_ms: snapshot.seen_ms,
            roster: &self.roster,
            held_back: &held_back,
            everyone: missed || is_over || !changed.is_empty(),
            before: changed,
            changes: OnceCell::new(),
            whole: OnceCell::new(),
        };
        for seat in self.seats.values_mut() {
            let later = is_later(seat);
            seat.bring_up_to_date(&truth, later);
        }
        let lost = |conn: &str| held_back.contains(conn) || self.roster.get(conn).is_none();
        let lost =
            self.seats.iter().filter(|(conn, _)| lost(conn.as_str())).map(|(_, seat)| seat.sink.clone()).collect();
        match &mut self.recovery {
            Some(recovery) if keeps && (recovery.keeps_out || !held_back.is_empty()) => recovery.held_back = held_back,
            recovery => *recovery = None,
        }
        lost
    }

    /// The snapshot, if one was needed, is applied; `heard` is how far the room was heard when it was asked for. Goes on
    /// with what waited.
    pub(super) fn go_on(&mut self, id: &RoomId, heard: u64, now: Instant) -> Repaired<S> {
        let again = std::mem::take(&mut self.repair_again);
        let retry_after = if std::mem::take(&mut self.reads_on) { READS_ON_AFTER } else { RETRY_AFTER };
        let mut fits = self.catch_up(id);
        if !fits {
            self.drop_heard(heard);
            fits = self.catch_up(id);
        }
        if !fits || again {
            return Repaired::Not;
        }
        self.repairing = false;
        let late = |seat: &Seat<S>| seat.behind_since.is_some_and(|since| now.duration_since(since) > BEHIND_LIMIT);
        let late = self.seats.extract_if(|_, seat| late(seat)).map(|(_, seat)| seat.sink).collect();
        let plan =
            |recovery: &mut Recovery| (!std::mem::replace(&mut recovery.look_planned, true)).then_some(recovery.until);
        Repaired::Done {
            recovers_until: self.recovery.as_mut().and_then(plan),
            behind_until: self.seats.values().any(Seat::is_behind).then(|| now + retry_after),
            late,
        }
    }
}
