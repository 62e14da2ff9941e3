//! The way of the events, and the gateway's repairs.

use std::collections::BTreeMap;

use rollcall_protocol::{Position, command::Snapshot, event::RoomEvent};

use super::{Fetched, World};
use crate::relay::room::{Behind, Heard, READS_ON_AFTER, RECOVERY, Repaired, tests::client::Client};

impl World {
    /// Each turn of a catch-up sends one message.
    pub(in crate::relay::room::tests) fn has_turns_of_one_message(&mut self) {
        self.room.pass.set_turn_bytes(1);
    }

    /// The next event arrives.
    pub(in crate::relay::room::tests) fn deliver(&mut self) {
        let Some(text) = self.wire.pop_front() else { return };
        let heard = self.room.hear(&self.id, &text, &RoomEvent::read(&text).unwrap());
        self.see_to_wanted();
        if heard == Heard::Gap {
            self.repair();
        }
    }

    /// As `Dirty::schedule`.
    pub(super) fn see_to_wanted(&mut self) {
        let wanted = self.room.take_wanted();
        if wanted.snapshot {
            self.repair();
        }
        if wanted.catch_up {
            self.catch_up_at.get_or_insert(self.now + READS_ON_AFTER);
        }
    }

    /// As `Dirty::repair`.
    pub(in crate::relay::room::tests) fn repair(&mut self) {
        if let Some(number) = self.room.begin_repair() {
            (self.repair, self.fetched) = (number, None);
        }
        if self.room.position().is_none() {
            self.look_again.clear();
        }
    }

    /// A step of the repair: a snapshot is taken, or the one that was taken arrives.
    pub(in crate::relay::room::tests) fn step(&mut self) {
        if !self.room.is_repairing() {
            if self.catch_up_at.take_if(|at| *at <= self.now).is_some() {
                self.catch_up();
            }
            if self.look_again.extract_if(.., |at| *at <= self.now).count() > 0 {
                self.repair();
            }
            return;
        }
        let Some(Fetched { asked_at, heard, snapshot, protected }) = self.fetched.take() else {
            return self.fetch();
        };
        if !self.room.repairs(self.repair) {
            return;
        }
        self.clients.values().for_each(|client| client.received().protected.clone_from(&protected));
        if let Some(snapshot) = snapshot {
            let recovery = RECOVERY.max(self.truce_until.saturating_duration_since(self.now));
            self.room.reconcile(&self.id, &snapshot, asked_at, recovery, self.calm_ms());
        } else {
            self.room.bring_up_to_date(&self.id, 0, self.now);
        }
        self.clients.values().for_each(|client| client.received().protected.clear());
        if let Repaired::Done { recovers_until, behind } = self.room.go_on(&self.id, heard, self.now) {
            self.look_again.extend(recovers_until);
            self.see_to_behind(&behind);
        }
    }

    /// As `Dirty::catch_up`.
    fn catch_up(&mut self) {
        self.clients.values().for_each(|client| client.received().protected.clone_from(&self.protected));
        let behind = self.room.catch_up_members(&self.id, 0, self.now);
        self.clients.values().for_each(|client| client.received().protected.clear());
        self.see_to_behind(&behind);
        self.see_to_wanted();
    }

    fn see_to_behind(&mut self, behind: &Behind<Client>) {
        self.catch_up_at = self.catch_up_at.or(behind.next);
        let (members, rejoins) = (&self.room.subscribers, &self.answers);
        self.clients
            .retain(|conn, _| members.contains_key(conn.as_str()) || rejoins.iter().any(|answer| answer.conn == *conn));
    }

    pub(super) fn fetch(&mut self) {
        // When the room has recovered, everyone was restored in time.
        if self.room.recovery.as_ref().is_some_and(|recovery| recovery.until <= self.now) {
            self.restore_everyone();
        }
        let at = if self.store.members.is_empty() { Position::default() } else { self.store.at };
        let snapshot = Snapshot { at, seen_ms: 0, members: self.shown() };
        let Some((known, heard)) = self.room.ask(self.repair) else { return };
        let unchanged = known == Some(at);
        self.fetched = Some(Fetched {
            asked_at: self.now,
            heard,
            snapshot: (!unchanged).then_some(snapshot),
            // What a snapshot lacks may have left, unless the gateway has noticed that Redis has older data.
            protected: if self.unnoticed { BTreeMap::new() } else { self.protected.clone() },
        });
    }

    /// Everything that is under way arrives, everyone reads, those who live are restored, and all repairs come to an end.
    pub(in crate::relay::room::tests) fn come_to_rest(&mut self) {
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
        for _ in 0..200 {
            self.step();
            if let Some(at) =
                self.look_again.iter().chain(&self.catch_up_at).min().filter(|_| !self.room.is_repairing())
            {
                self.wait(at.saturating_duration_since(self.now).as_millis() as u64 + 1);
            }
        }
        let is_at_rest = self.look_again.is_empty() && self.catch_up_at.is_none();
        assert!(!self.room.is_repairing() && is_at_rest, "repairs do not end");
    }
}
