//! The way of the events, and the gateway's repairs.

use std::collections::BTreeMap;

use protocol::{Position, command::Snapshot, event::RoomEvent};

use super::{Fetched, World};
use crate::relay::{
    reconcile::{RECOVERY, Repaired},
    room::Heard,
};

impl World {
    /// The next event arrives.
    pub(in crate::relay::tests) fn deliver(&mut self) {
        let Some(text) = self.wire.pop_front() else { return };
        let heard = self.room.hear(&self.id, &text, &RoomEvent::read(&text).unwrap());
        if self.room.take_needs_snapshot() || heard == Heard::Gap {
            self.repair();
        }
    }

    /// As `Relay::repair`.
    pub(in crate::relay::tests) fn repair(&mut self) {
        if self.room.is_idle() {
            self.room.forget();
        }
        if self.room.has_begun() && std::mem::replace(&mut self.room.repairing, true) {
            self.room.repair_again = true;
        }
        if !self.room.has_begun() {
            self.look_again.clear();
        }
    }

    /// A step of the repair: a snapshot is taken, or the one that was taken arrives.
    pub(in crate::relay::tests) fn step(&mut self) {
        if !self.room.repairing {
            if self.look_again.extract_if(.., |at| *at <= self.now).count() > 0 {
                self.repair();
            }
            return;
        }
        let Some(Fetched { asked_at, heard, snapshot, protected }) = self.fetched.take() else {
            return self.fetch();
        };
        if self.room.is_idle() {
            self.room.forget();
            self.room.repairing = false;
            return;
        }
        self.clients.values().for_each(|client| client.told().protected.clone_from(&protected));
        if let Some(snapshot) = snapshot {
            let recovery = RECOVERY.max(self.truce_until.saturating_duration_since(self.now));
            self.room.reconcile(&self.id, &snapshot, asked_at, recovery, self.calm_ms());
        } else {
            self.room.bring_up_to_date(&self.id, 0);
        }
        self.clients.values().for_each(|client| client.told().protected.clear());
        if let Repaired::Done { recovers_until, behind_until, .. } = self.room.go_on(&self.id, heard, self.now) {
            self.look_again.extend(behind_until.into_iter().chain(recovers_until));
            let seats = &self.room.seats;
            let rejoins = &self.answers;
            self.clients
                .retain(|conn, _| seats.contains_key(conn.as_str()) || rejoins.iter().any(|(other, _)| other == conn));
        }
    }

    pub(super) fn fetch(&mut self) {
        // When the room has recovered, everyone was restored in time.
        if self.room.recovery.as_ref().is_some_and(|recovery| recovery.until <= self.now) {
            self.restore_everyone();
        }
        let at = if self.store.members.is_empty() { Position::default() } else { self.store.at };
        let snapshot = Snapshot { at, seen_ms: 0, members: self.shown() };
        let unchanged = self.room.ask() == Some(at);
        self.fetched = Some(Fetched {
            asked_at: self.now,
            heard: self.room.heard(),
            snapshot: (!unchanged).then_some(snapshot),
            // What a snapshot lacks may have left, unless the gateway has noticed that Redis has older data.
            protected: if self.unnoticed { BTreeMap::new() } else { self.protected.clone() },
        });
    }

    /// Everything that is under way arrives, everybody reads, who lives is restored, and all repairs come to an end.
    pub(in crate::relay::tests) fn come_to_rest(&mut self) {
        self.clients.values().for_each(|client| client.has_space(None));
        self.gone.clone().iter().for_each(|conn| self.evict(conn, "node_lost"));
        self.alive.keys().cloned().collect::<Vec<_>>().iter().for_each(|conn| self.restore(conn));
        self.restore_everyone();
        // A room that began again may have a lower generation then, which shows by its first event after the clock has caught up.
        if let Some(conn) = self.alive.keys().next().cloned().filter(|_| self.was_set_back) {
            self.clock.catch_up();
            self.update(&conn, "{\"last\":true}");
        }
        while !self.answers.is_empty() {
            self.answer(0);
        }
        while !self.wire.is_empty() {
            self.deliver();
        }
        self.notice();
        self.repair();
        for _ in 0..100 {
            self.step();
            if let Some(at) = self.look_again.iter().min().filter(|_| !self.room.repairing) {
                self.wait(at.saturating_duration_since(self.now).as_millis() as u64 + 1);
            }
        }
        assert!(!self.room.repairing && self.look_again.is_empty(), "repairs do not end");
    }
}
