//! What Redis does wrong, and when the gateway notices.

use std::time::Duration;

use rollcall_protocol::ConnId;

use super::{Answer, NOTICED_STEP_MS, SILENCE_MS, Store, TRUCE, World};

impl World {
    /// The n-th answer is lost. A first join is not repeated: its record stays until someone evicts it. Nor is that of who
    /// was closed meanwhile, having been behind for too long.
    pub(in crate::relay::room::tests) fn lose_answer(&mut self, n: usize) {
        let Some(Answer { conn, join, .. }) = self.answers.remove(n) else { return };
        if self.room.subscribers.contains_key(conn.as_str()) {
            self.room.release(&ConnId::from(conn.as_str()), true);
            self.repair();
        } else {
            self.clients.remove(&conn);
        }
        self.room.join_ended(join);
    }

    /// The gateway of someone elsewhere is gone.
    pub(in crate::relay::room::tests) fn lose_gateway(&mut self, conn: &str) {
        if self.store.members.contains_key(conn) {
            self.gone.insert(conn.to_owned());
            self.alive.remove(conn);
            self.protected.remove(conn);
        }
    }

    /// A join that Redis refuses, or does not carry out in time.
    pub(in crate::relay::room::tests) fn refuse(&mut self, conn: &str, pause_ms: u64) {
        let join = self.room.join_began();
        self.room.hold(&ConnId::from(conn));
        self.wait(pause_ms);
        if self.room.release(&ConnId::from(conn), false) {
            self.repair();
        }
        self.room.join_ended(join);
    }

    /// Redis stands still; after a while the gateway takes it for one that may have lost something.
    pub(in crate::relay::room::tests) fn freeze(&mut self, ms: u64) {
        self.wait(ms);
        self.unnoticed |= ms >= SILENCE_MS;
        self.notice();
    }

    pub(in crate::relay::room::tests) fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.clock.pass(ms);
    }

    /// Redis' clock is set. A step of more than a second is noticed as a loss is.
    pub(in crate::relay::room::tests) fn move_clock(&mut self, by_ms: i64) {
        // Numbers begin from the clock: set back where numbers are lost, it would give these again.
        if self.faults == 0 || by_ms > 0 {
            self.clock.step(by_ms);
            self.unnoticed |= by_ms.unsigned_abs() > NOTICED_STEP_MS;
            self.was_set_back |= (-(NOTICED_STEP_MS as i64)..0).contains(&by_ms);
        }
    }

    /// Redis loses everything.
    pub(in crate::relay::room::tests) fn lose_everything(&mut self, is_noticed: bool) {
        self.stop(!is_noticed);
        self.past.clear();
        self.store = Store::default();
        self.gone.clear();
        self.unnoticed |= is_noticed;
    }

    /// Redis stops. Answers and events travel through it: those under way came before, or, of events, not at all.
    pub(super) fn stop(&mut self, lose_events: bool) {
        while !self.answers.is_empty() {
            self.answer(0);
        }
        while !lose_events && !self.wire.is_empty() {
            self.deliver();
        }
        self.wire.clear();
        self.clock.catch_up();
        self.faults += 1;
        self.clients.values().for_each(|client| client.received().lenient = self.faults > 1);
    }

    /// Redis comes back without its last `n` changes.
    pub(in crate::relay::room::tests) fn roll_back(&mut self, n: usize, lose_events: bool, is_restarted: bool) {
        self.stop(lose_events);
        self.history += u64::from(is_restarted);
        for _ in 0..n {
            let Some(before) = self.past.pop() else { break };
            self.store = before;
            self.unnoticed = true;
        }
        let is_stored = |conn: &String| self.store.members.contains_key(conn);
        self.gone = std::mem::take(&mut self.gone).into_iter().filter(is_stored).collect();
    }

    /// Redis loses one record, which no event says. An audit finds it before anything is asked of the record.
    pub(in crate::relay::room::tests) fn lose_one(&mut self, conn: &str) {
        if self.store.members.len() > 1 && self.alive.contains_key(conn) {
            self.store.members.remove(conn);
            self.lost.insert(conn.to_owned());
            self.unprotected.insert(conn.to_owned());
            self.past.clear();
            self.protected.remove(conn);
        }
    }

    pub(super) fn audit(&mut self, conn: &str) {
        if self.lost.remove(conn) {
            self.restore(conn);
        }
    }

    /// The gateway's lease is renewed. Redis may have older data since the last time, or seem so.
    pub(in crate::relay::room::tests) fn notice(&mut self) {
        let before_ms = std::mem::replace(&mut self.exchanged_ms, self.clock.now_ms());
        if std::mem::take(&mut self.unnoticed) {
            (self.calm_ms, self.truce_until) = (before_ms, self.now + TRUCE);
            self.room.begin_recovery(self.truce_until, self.calm_ms);
            self.repair();
        }
    }

    /// As `Bus::calm_ms`.
    pub(super) fn calm_ms(&self) -> u64 {
        if self.now < self.truce_until { self.calm_ms } else { self.exchanged_ms }
    }
}
