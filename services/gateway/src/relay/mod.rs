//! The relay: rooms in which this gateway has members, what they say, and to whom it goes. Whatever it may have missed it fetches.
//!
//! - `room`: one room as its members know it. No I/O, no tasks.
//! - `member`: what the relay needs of a connection.
//! - `registry`: rooms that are listened to. `entering`: joins and leaves under way. `lock_subscription`: who holds a lock or
//!   waits for one.
//! - `inbox`, `delivery`: events on their way to members. `dirty`: rooms in which something may be missing.
//! - `own`: the members here, as the gateway restores them.

mod delivery;
mod dirty;
mod entering;
mod inbox;
mod lock_subscription;
mod member;
mod own;
mod registry;
mod room;

use std::{sync::Arc, thread, time::Instant};

use bus::Bus;
use protocol::{
    ConnId, Fault, Partition, RoomId,
    event::{RoomEvent, lock::LockEvent, metadata::MetadataEvent},
};
use service::Tasks;
use telemetry::propagation::TraceContext;
use tracing::Span;

use self::{
    delivery::{Deliver, Delivery},
    dirty::Dirty,
    own::Own,
    registry::{MemberRoom, Registry, RoomHandle},
    room::Heard,
};
pub(crate) use self::{
    entering::{Entering, Kept},
    lock_subscription::LockSubscription,
    member::Member,
    room::LockUpdate,
};
use crate::reassert::Reassert;

/// Snapshots and pages of channels that are fetched at a time.
const REPAIRS: usize = 32;
/// Unsubscriptions under way at a time.
const UNSUBSCRIPTIONS: usize = 8;
/// Workers that deliver events: one for each processor, up to so many.
const MOST_DELIVERIES: usize = 8;

/// See the module.
pub(crate) struct Relay {
    bus: Arc<Bus>,
    registry: Arc<Registry>,
    dirty: Arc<Dirty>,
    delivery: Delivery,
    own: Arc<Own>,
}

impl Relay {
    pub(crate) fn new(bus: Arc<Bus>, reassert: Arc<Reassert>) -> Arc<Self> {
        let registry = Arc::new(Registry::new(Arc::clone(&bus)));
        let dirty = Arc::new(Dirty::new(Arc::clone(&bus), reassert));
        let own = Arc::new(Own { registry: Arc::clone(&registry), dirty: Arc::clone(&dirty) });
        Arc::new(Self { bus, registry, dirty, delivery: Delivery::new(), own })
    }

    /// The members here, for those who restore them. Lives as long as the relay.
    pub(crate) fn own(&self) -> &Arc<Own> {
        &self.own
    }

    /// Begins to deliver events, to repair rooms, and to forget those that no one here is in any more.
    pub(crate) fn start(self: &Arc<Self>, tasks: &Tasks) {
        let deliveries = thread::available_parallelism().map_or(1, usize::from).min(MOST_DELIVERIES);
        for _ in 0..deliveries {
            let relay = Arc::clone(self);
            tasks.spawn_permanent("delivery", async move { relay.delivery.work(&*relay).await });
        }
        for _ in 0..REPAIRS {
            let dirty = Arc::clone(&self.dirty);
            tasks.spawn_permanent("repairs", async move { dirty.work().await });
        }
        for _ in 0..UNSUBSCRIPTIONS {
            let registry = Arc::clone(&self.registry);
            tasks.spawn_permanent("forgetting rooms", async move { registry.forget_forever().await });
        }
    }

    /// Makes sure that the room is heard before a member joins it.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis did not confirm the subscription.
    pub(crate) async fn enter(&self, id: &RoomId, span: &Span) -> Result<Entering, Fault> {
        Entering::begin(&self.registry, &self.dirty, id, span).await
    }

    /// Removes a member from its room. Its leave has to be sent, and the guard dropped when that is carried out.
    pub(crate) fn exit(&self, id: &RoomId, conn: &ConnId) -> Kept {
        let leaving = self.leave(id);
        leaving.room().lock().exit(conn);
        leaving
    }

    /// A leave of a socket that stays a member here, or never became one, is about to be sent: until it is carried out, Redis may
    /// have one member more than this gateway.
    pub(crate) fn leave(&self, id: &RoomId) -> Kept {
        Kept::new(&self.registry, id, |room| &room.leaving)
    }

    /// Makes sure that the room is heard as long as someone has an interest in a lock of its channels.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis did not confirm the subscription.
    pub(crate) async fn listen(&self, id: &RoomId, span: &Span) -> Result<LockSubscription, Fault> {
        LockSubscription::begin(&self.registry, id, span).await
    }

    /// A room said something.
    pub(crate) fn on_event(&self, channel: &str, text: &str) {
        if let Some(room) = self.room_of(channel) {
            self.delivery.push(&room, text);
        }
    }

    /// Something may have been missed in any room.
    pub(crate) fn on_gap(&self) {
        Partition::all()
            .flat_map(|partition| self.registry.rooms_of(partition))
            .for_each(|room| self.dirty.look_again(&room));
    }

    /// Something may have been missed in the room of this channel.
    pub(crate) fn on_channel_gap(&self, channel: &str) {
        if let Some(room) = self.room_of(channel) {
            self.dirty.look_again(&room);
        }
    }

    /// The open room whose events come on `channel`.
    fn room_of(&self, channel: &str) -> Option<Arc<RoomHandle>> {
        self.registry.room(&self.bus.subjects().room_of(channel)?)
    }

    /// What Redis holds of these partitions may be older than what it said before. Until `recovers_until`, the members of their
    /// rooms are not told that someone left only because Redis lacks the record.
    pub(crate) fn on_history(&self, partitions: &[Partition], recovers_until: Instant) {
        for &partition in partitions {
            let calm_ms = self.bus.calm_ms(partition);
            for room in self.registry.rooms_of(partition) {
                room.lock().begin_recovery(recovers_until, calm_ms);
                self.dirty.look_again(&room);
            }
        }
    }

    fn hear_presence(&self, room: &Arc<RoomHandle>, text: &str, event: &RoomEvent<'_>) -> usize {
        let (heard, recipients, wanted) = {
            let mut state = room.lock();
            let heard = state.hear(&room.id, text, event);
            (heard, state.count(), state.take_wanted())
        };
        self.dirty.see_to(room, wanted);
        match heard {
            Heard::Gap => self.dirty.repair(room),
            Heard::Delivered => {
                telemetry::metrics::delivered(event.kind.as_str(), recipients);
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

impl Deliver for Relay {
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
            tracing::warn!(channel = room.channel, "dropped malformed room event");
        }
        delivered.unwrap_or_default()
    }

    fn lost(&self, room: &Arc<RoomHandle>) {
        tracing::warn!(room = %room.id, "dropped room events; too many bytes waited");
        self.dirty.look_again(room);
    }
}

/// The span of an event that went to members, if its request is traced.
fn trace(room: &RoomHandle, traceparent: Option<&str>, recipients: usize) {
    if traceparent.is_some() {
        let span = telemetry::span::deliver(&room.channel, room.id.as_str(), recipients);
        TraceContext::read(traceparent, None).adopt(&span);
    }
}
