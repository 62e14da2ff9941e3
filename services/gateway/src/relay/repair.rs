//! The way back from a gap: fetch a snapshot, bring the members here up to date, go on with what came meanwhile. A room
//! that began anew settles first: its connections are put back by their gateways, and nobody is told a false leave.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    Fault,
    command::{Command, Outcome, SnapshotQuery},
};
use telemetry::propagation::TraceContext;
use tokio::time::{sleep, sleep_until};

use super::{Relay, Room, reconcile::Repaired, room::Position};

const RETRY_EVERY: Duration = Duration::from_millis(250);
/// What went missing while a snapshot was fetched wants another; not at once, so that no room can keep us busy.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What a repair does next.
enum Step {
    /// Something is missing still.
    Fetch { after: Duration },
    /// The room goes on.
    Done { look_again: Option<Instant> },
}

impl Relay {
    /// Begins a repair, unless one is under way, which then goes round once more.
    pub(super) fn repair(&self, room: &Arc<Room>) {
        let mut state = room.lock();
        if state.is_idle() {
            state.forget();
        }
        if !state.has_begun() {
            return;
        }
        if std::mem::replace(&mut state.repairing, true) {
            state.repair_again = true;
        } else if let Some(relay) = self.me.upgrade() {
            telemetry::metrics::gap();
            tokio::spawn(relay.run_repair(Arc::clone(room)));
        }
    }

    async fn run_repair(self: Arc<Self>, room: Arc<Room>) {
        let next = loop {
            let (known, heard) = {
                let state = room.lock();
                (state.known_position(), state.heard())
            };
            let outcome = self.fetch(&room, known).await;
            match self.apply(&room, heard, outcome) {
                Step::Fetch { after } => sleep(after).await,
                Step::Done { look_again } => break look_again,
            }
        };
        if let Some(at) = next {
            sleep_until(at.into()).await;
            self.repair(&room);
        }
    }

    fn apply(&self, room: &Room, heard: u64, outcome: Result<Outcome, Fault>) -> Step {
        let mut state = room.lock();
        if state.is_idle() {
            state.forget();
            state.repairing = false;
            return Step::Done { look_again: None };
        }
        let now = Instant::now();
        match outcome {
            Ok(Outcome::Unchanged) => {}
            Ok(Outcome::Snapshot(snapshot)) => {
                let missing = state.reconcile(&room.id, &snapshot, now);
                missing.iter().for_each(|session| self.touches.nudge(session));
            }
            Ok(_) | Err(_) => return Step::Fetch { after: RETRY_EVERY },
        }
        match state.go_on(&room.id, heard, now) {
            Repaired::Not => Step::Fetch { after: AGAIN_AFTER },
            Repaired::Done { settles_at, behind, late } => {
                late.iter().for_each(|session| session.doom("it stayed behind the room's events"));
                Step::Done { look_again: settles_at.or_else(|| behind.then(|| now + RETRY_EVERY)) }
            }
        }
    }

    async fn fetch(&self, room: &Room, known: Option<Position>) -> Result<Outcome, Fault> {
        // Closed only when the process ends.
        let _permit = self.repairs.acquire().await;
        let known = known.map(|position| (position.birth, position.seq));
        let query = Command::Snapshot(SnapshotQuery { room: room.id.clone(), known });
        let answer = self.bus.call(room.id.as_str(), &query, TraceContext::default()).await?;
        Arc::try_unwrap(answer.outcome)
            .map_err(|_| Fault::new(protocol::Code::Internal, "a snapshot was answered to somebody else too"))
    }
}
