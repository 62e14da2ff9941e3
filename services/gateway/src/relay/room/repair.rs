//! Repairs of a room: when one begins, what it asks for, how the room continues.

use std::time::Instant;

use rollcall_protocol::{Position, RoomId};

use super::{Phase, Room, catch_up::Behind, recovery::Recovery, sink::Sink};

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

    /// The snapshot, if one was needed, is applied: continues with the events that waited. `received` is the number of events that
    /// were received before the snapshot was requested.
    pub(in crate::relay) fn go_on(&mut self, id: &RoomId, received: u64, now: Instant) -> Repaired<S> {
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
        Repaired::Done { recovers_until, behind: self.take_behind(now) }
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
