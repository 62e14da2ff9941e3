//! The way back from a gap: fetch a snapshot, bring the members here up to date, go on with what came meanwhile. A room
//! that Redis may have lost recovers first: gateways restore its members, and no one is sent a false leave.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    Fault, Position,
    command::{Command, Outcome, SnapshotQuery},
};
use telemetry::propagation::TraceContext;
use tokio::time::{sleep, sleep_until};

use super::{
    Relay, Room,
    reconcile::{RECOVERY, Repaired},
};

const RETRY_EVERY: Duration = Duration::from_millis(250);
/// What went missing while a snapshot was fetched wants another; not at once, so that no room can keep us busy.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What a repair does next.
enum Step {
    /// Something is missing still.
    Fetch { after: Duration },
    /// The room goes on.
    Done { look_again: Vec<Instant> },
}

impl Relay {
    /// Something may be missing: begins a repair, unless one is under way, which then goes round once more.
    pub(super) fn repair(&self, room: &Arc<Room>) {
        if self.begin_repair(room) {
            telemetry::metrics::gap();
        }
    }

    /// Says whether a repair was begun, and not one that is under way told to go round once more.
    fn begin_repair(&self, room: &Arc<Room>) -> bool {
        let mut state = room.lock();
        if state.is_idle() {
            state.forget();
        }
        if !state.has_begun() {
            return false;
        }
        if std::mem::replace(&mut state.repairing, true) {
            state.repair_again = true;
            return false;
        }
        let Some(relay) = self.me.upgrade() else { return false };
        tokio::spawn(relay.run_repair(Arc::clone(room)));
        true
    }

    async fn run_repair(self: Arc<Self>, room: Arc<Room>) {
        let next = loop {
            let (known, heard) = {
                let mut state = room.lock();
                (state.ask(), state.heard())
            };
            let asked_at = Instant::now();
            let outcome = self.fetch(&room, known).await;
            match self.apply(&room, heard, asked_at, outcome) {
                Step::Fetch { after } => sleep(after).await,
                Step::Done { look_again } => break look_again,
            }
        };
        for at in next {
            sleep_until(at.into()).await;
            self.begin_repair(&room);
        }
    }

    fn apply(&self, room: &Room, heard: u64, asked_at: Instant, outcome: Result<Outcome, Fault>) -> Step {
        let mut state = room.lock();
        if state.is_idle() {
            state.forget();
            state.repairing = false;
            return Step::Done { look_again: Vec::new() };
        }
        let now = Instant::now();
        match outcome {
            Ok(Outcome::Unchanged) => state.bring_up_to_date(&room.id, self.bus.seen_ms()),
            Ok(Outcome::Snapshot(snapshot)) => {
                let truce = self.bus.truce().map(|truce| truce.left).unwrap_or_default();
                let calm_ms = self.bus.calm_ms(room.id.partition());
                let lost = state.reconcile(&room.id, &snapshot, asked_at, RECOVERY.max(truce), calm_ms);
                if !lost.is_empty() {
                    self.reassert.restore(&room.id);
                }
            }
            Ok(_) | Err(_) => return Step::Fetch { after: RETRY_EVERY },
        }
        match state.go_on(&room.id, heard, now) {
            Repaired::Not => Step::Fetch { after: AGAIN_AFTER },
            Repaired::Done { recovers_until, behind_until, late } => {
                late.iter().for_each(|session| session.doom("it stayed behind the room's events"));
                Step::Done { look_again: behind_until.into_iter().chain(recovers_until).collect() }
            }
        }
    }

    async fn fetch(&self, room: &Room, known: Option<Position>) -> Result<Outcome, Fault> {
        // Closed only when the process ends.
        let _permit = self.repairs.acquire().await;
        let query = Command::Snapshot(SnapshotQuery { room: room.id.clone(), known });
        self.bus.call(&query, TraceContext::default()).await?.into_outcome()
    }
}
