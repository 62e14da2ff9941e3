//! The way back where a change of a channel may have been missed: fetch the records that members may not know, and all
//! locks, and tell them the whole.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    command::{Catchup, Command, Outcome},
    event::metadata::MetadataEvent,
};
use telemetry::propagation::TraceContext;
use tokio::time::sleep;

use super::{Relay, Room};

const RETRY_EVERY: Duration = Duration::from_millis(250);

impl Relay {
    /// A channel of the room's name changed.
    pub(super) fn on_metadata(&self, room: &Arc<Room>, text: &str) {
        let Some(event) = MetadataEvent::read(text) else {
            tracing::warn!(channel = room.channel, "dropped malformed metadata event");
            return;
        };
        let (missed, recipients) = {
            let mut state = room.lock();
            (state.hear_metadata(&room.id, &event), state.seats.len())
        };
        if missed {
            self.catch_up(room);
        }
        if event.traceparent.is_some() {
            let span = telemetry::span::deliver(&room.channel, room.id.as_str(), recipients);
            TraceContext::read(event.traceparent, None).adopt(&span);
        }
    }

    /// Begins to bring members up to date, unless that is under way, which then goes round once more.
    pub(super) fn catch_up(&self, room: &Arc<Room>) {
        if room.lock().begin_catchup()
            && let Some(relay) = self.me.upgrade()
        {
            tokio::spawn(relay.run_catchup(Arc::clone(room)));
        }
    }

    async fn run_catchup(self: Arc<Self>, room: Arc<Room>) {
        loop {
            let Some((known, all)) = room.lock().known_metadata() else { return };
            let command = Command::Catchup(Catchup { room: room.id.clone(), known, all });
            let answer = {
                // Closed only when the process ends.
                let _permit = self.repairs.acquire().await;
                self.bus.call(&command, TraceContext::default()).await
            };
            let (records, locks) = match answer.as_ref().map(|answer| &*answer.outcome) {
                Ok(Outcome::Catchup { records, locks }) => (records, locks),
                Ok(_) | Err(_) => {
                    sleep(RETRY_EVERY).await;
                    continue;
                }
            };
            let caught = {
                let mut state = room.lock();
                state.catch_up_locks(&room.id, locks);
                state.catch_up_metadata(&room.id, records, Instant::now())
            };
            caught.late.iter().for_each(|session| session.doom("it took no change of metadata"));
            match caught.again {
                Some(after) => sleep(after).await,
                None => return,
            }
        }
    }
}
