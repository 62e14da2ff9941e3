//! A room after a gap: a snapshot becomes its truth, members receive what they missed and then the whole, and what came
//! meanwhile goes on from there. No I/O: `repair` fetches the snapshots.

use std::{
    cell::OnceCell,
    collections::HashSet,
    time::{Duration, Instant},
};

use protocol::{RoomId, command::Snapshot};

use super::{
    room::{Position, State},
    roster::Roster,
    seat::{Seat, Sink},
    truth::Truth,
};

/// A room that began anew (Redis lost its data) has this long until who has not come back is gone: gateways put their
/// own connections back meanwhile.
pub(super) const SETTLING: Duration = Duration::from_secs(4);
/// A socket that does not take what it must know for this long is closed.
pub(super) const BEHIND_LIMIT: Duration = Duration::from_secs(10);

/// Where a repair stands.
pub(super) enum Repaired<S> {
    /// What came meanwhile does not fit: another snapshot is needed.
    Not,
    /// The room goes on.
    Done {
        /// The room settles until then.
        settles_at: Option<Instant>,
        /// Somebody has no room in its queue for what it must know.
        behind: bool,
        /// Who has had none for too long, and is no member any more.
        late: Vec<S>,
    },
}

impl<S: Sink> State<S> {
    /// What a repair need not fetch again; none when somebody needs a snapshot whatever it says.
    pub(super) fn known_position(&self) -> Option<Position> {
        let needed = self.settles_at.is_some() || self.seats.values().any(Seat::is_behind);
        self.position.filter(|_| !needed)
    }

    /// Takes a snapshot for the truth. Answers the members here that it does not have.
    pub(super) fn reconcile(&mut self, id: &RoomId, snapshot: &Snapshot, now: Instant) -> Vec<S> {
        let at = Position { birth: snapshot.birth, seq: snapshot.seq };
        // What the room said before the snapshot was taken is no gap.
        self.catch_up_to(id, at);
        let missed = self.position != Some(at);
        // Redis came back with older data: everybody's place is beyond it.
        let went_back = self.position.is_some_and(|position| position.birth == at.birth && position > at);
        let anew = self.position.is_none_or(|position| position.birth != at.birth);
        let settled = self.settles_at.is_some_and(|at| at <= now);
        if anew && self.settles_at.is_none() {
            self.settles_at = Some(now + SETTLING);
        }
        let mut roster = Roster::of(snapshot.members.iter());
        let settling = self.settles_at.is_some() && !settled;
        let held_back = if settling { roster.hold_back(&self.roster) } else { HashSet::new() };
        let before = std::mem::replace(&mut self.roster, roster);
        if missed {
            self.jump(at);
        }
        if held_back.is_empty() {
            self.settles_at = None;
        }
        let changed = before.where_not(&self.roster);
        let truth = Truth {
            id,
            at,
            roster: &self.roster,
            held_back: &held_back,
            everyone: missed || settled || !changed.is_empty(),
            snapshot,
            before: changed,
            changes: OnceCell::new(),
            whole: OnceCell::new(),
        };
        for seat in self.seats.values_mut() {
            // Who was answered later than the snapshot was taken stands beyond it, and what came since waits.
            let later = seat.at > at && !went_back;
            seat.bring_up_to_date(&truth, later);
        }
        let lost = |conn: &str| held_back.contains(conn) || self.roster.get(conn).is_none();
        self.seats.iter().filter(|(conn, _)| lost(conn.as_str())).map(|(_, seat)| seat.sink.clone()).collect()
    }

    /// The snapshot, if one was needed, is applied; `heard` is how far the room was heard when it was asked for. Goes on
    /// with what waited.
    pub(super) fn go_on(&mut self, id: &RoomId, heard: u64, now: Instant) -> Repaired<S> {
        let again = std::mem::take(&mut self.repair_again);
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
        Repaired::Done { settles_at: self.settles_at, behind: self.seats.values().any(Seat::is_behind), late }
    }
}
