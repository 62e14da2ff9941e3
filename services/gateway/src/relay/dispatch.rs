//! What a room said is applied to it: presence, metadata or locks.

use std::sync::Arc;

use rollcall_protocol::event::{RoomEvent, lock::LockEvent, metadata::MetadataEvent};
use rollcall_telemetry::{LogLimit, propagation::TraceContext};

use super::{
    delivery::Deliver,
    dirty::Dirty,
    registry::{MemberRoom, RoomHandle},
    room::Heard,
};
use crate::flow::backlog::Backlog;

/// See the module.
pub(super) struct Dispatch {
    pub(super) dirty: Arc<Dirty>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) loss_log: LogLimit,
}

impl Deliver for Dispatch {
    fn deliver(&self, room: &Arc<RoomHandle>, text: &str) -> usize {
        let delivered = if MetadataEvent::is(text) {
            MetadataEvent::read(text)
                .map(|event| self.hear_change(room, event.traceparent, |state| state.hear_metadata(&room.id, &event)))
        } else if LockEvent::is(text) {
            LockEvent::read(text)
                .map(|event| self.hear_change(room, event.traceparent, |state| state.hear_lock(&room.id, &event)))
        } else {
            RoomEvent::read(text).map(|event| self.hear_presence(room, text, &event))
        };
        if delivered.is_none() {
            tracing::warn!(channel = room.channel, "malformed room event dropped");
        }
        let recipients = delivered.unwrap_or_default();
        self.backlog.pace.delivered(text.len(), recipients);
        recipients
    }

    fn lost(&self, room: &Arc<RoomHandle>) {
        if let Some(suppressed) = self.loss_log.admit() {
            tracing::warn!(room = %room.id, suppressed, "room events dropped: too many bytes waited");
        }
        self.dirty.resync(room);
    }
}

impl Dispatch {
    fn hear_presence(&self, room: &Arc<RoomHandle>, text: &str, event: &RoomEvent<'_>) -> usize {
        let (heard, wanted) = {
            let mut state = room.lock();
            (state.hear(&room.id, text, event), state.take_wanted())
        };
        self.dirty.schedule(room, wanted);
        match heard {
            Heard::Gap => self.dirty.repair(room),
            Heard::Delivered(recipients) => {
                rollcall_telemetry::metrics::delivered(event.kind.as_str(), recipients);
                trace(room, event.traceparent, recipients);
                return recipients;
            }
            Heard::Kept => {}
        }
        0
    }

    /// A channel or a lock of the room's name changed: `hear` tells the room, and says whether a sync is needed.
    fn hear_change(
        &self,
        room: &Arc<RoomHandle>,
        traceparent: Option<&str>,
        hear: impl FnOnce(&mut MemberRoom) -> bool,
    ) -> usize {
        let (needs_sync, recipients) = {
            let mut state = room.lock();
            (hear(&mut state), state.count())
        };
        if needs_sync {
            self.dirty.sync(room);
        }
        trace(room, traceparent, recipients);
        recipients
    }
}

/// The span of an event that went to members, if its request is traced.
fn trace(room: &RoomHandle, traceparent: Option<&str>, recipients: usize) {
    if traceparent.is_some() {
        let span = rollcall_telemetry::span::deliver(&room.channel, room.id.as_str(), recipients);
        TraceContext::read(traceparent, None).adopt(&span);
    }
}
