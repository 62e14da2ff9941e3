//! The relay: delivers the events of rooms to this gateway's members, and fetches what it may have missed.
//!
//! - `room`: one room as its members know it. No I/O, no tasks.
//! - `member`: what the relay needs of a connection.
//! - `registry`: rooms that are listened to. `entering`: joins and leaves under way. `lock_subscription`: who holds a lock or
//!   waits for one.
//! - `inbox`, `delivery`, `dispatch`: events wait for their turn and are applied to their room. `dirty`: rooms in which something may be missing.
//! - `own`: the members here, as the gateway restores them.

mod delivery;
mod dirty;
mod dispatch;
mod entering;
mod inbox;
mod lock_subscription;
mod member;
mod own;
mod registry;
mod room;
mod tries;

use std::{sync::Arc, thread, time::Instant};

use rollcall_bus::Bus;
use rollcall_protocol::{ConnId, Fault, Partition, RoomId};
use rollcall_service::Tasks;
use rollcall_telemetry::{
    LogLimit,
    metrics::{self, Reading},
};
use tracing::Span;

use self::{
    delivery::Delivery,
    dirty::Dirty,
    dispatch::Dispatch,
    own::Own,
    registry::{Registry, RoomHandle},
};
pub(crate) use self::{
    entering::{Entering, Kept},
    lock_subscription::LockSubscription,
    member::Member,
    room::LockUpdate,
};
use crate::{flow::backlog::Backlog, reassert::Reassert};

/// Snapshots and pages of channels that are fetched at a time, and those that are tried again.
const FETCHES: usize = 24;
const RETRIES: usize = 8;
/// Unsubscriptions under way at a time.
const UNSUBSCRIPTIONS: usize = 8;
/// The most workers that deliver events; there is one per processor.
const MOST_DELIVERIES: usize = 8;

/// The rooms of this gateway.
pub(crate) struct Relay {
    bus: Arc<Bus>,
    registry: Arc<Registry>,
    dirty: Arc<Dirty>,
    delivery: Delivery,
    dispatch: Dispatch,
    own: Arc<Own>,
}

impl Relay {
    pub(crate) fn new(bus: Arc<Bus>, reassert: Arc<Reassert>, backlog: Arc<Backlog>) -> Arc<Self> {
        let registry = Arc::new(Registry::new(Arc::clone(&bus)));
        let dirty = Arc::new(Dirty::new(Arc::clone(&bus), reassert, Arc::clone(&backlog)));
        let own = Arc::new(Own { registry: Arc::clone(&registry), dirty: Arc::clone(&dirty) });
        let dispatch = Dispatch { dirty: Arc::clone(&dirty), backlog, loss_log: LogLimit::default() };
        Arc::new(Self { bus, registry, dirty, delivery: Delivery::new(), dispatch, own })
    }

    /// The members of this gateway, for restores and audits. Lives as long as the relay.
    pub(crate) fn own(&self) -> &Arc<Own> {
        &self.own
    }

    /// Registers the metric of users.
    pub(crate) fn register_metrics(self: &Arc<Self>) {
        let registry = Arc::clone(&self.registry);
        metrics::observe(Reading::UsersActive, move || Some(registry.users() as f64));
    }

    /// Starts the workers that deliver events, repair rooms, and unsubscribe idle rooms.
    pub(crate) fn start(self: &Arc<Self>, tasks: &Tasks) {
        let deliveries = thread::available_parallelism().map_or(1, usize::from).min(MOST_DELIVERIES);
        for _ in 0..deliveries {
            let relay = Arc::clone(self);
            tasks.spawn_permanent("delivery", async move { relay.delivery.work(&relay.dispatch).await });
        }
        for _ in 0..FETCHES {
            let dirty = Arc::clone(&self.dirty);
            tasks.spawn_permanent("repairs", async move { dirty.fetch().await });
        }
        for _ in 0..RETRIES {
            let dirty = Arc::clone(&self.dirty);
            tasks.spawn_permanent("repairs again", async move { dirty.retry().await });
        }
        let dirty = Arc::clone(&self.dirty);
        tasks.spawn_permanent("slow members", async move { dirty.look().await });
        let dirty = Arc::clone(&self.dirty);
        tasks.spawn_permanent("slow members of large rooms", async move { dirty.look_at_large().await });
        for _ in 0..UNSUBSCRIPTIONS {
            let registry = Arc::clone(&self.registry);
            tasks.spawn_permanent("forgetting rooms", async move { registry.forget_forever().await });
        }
    }

    /// Makes sure that the room is subscribed before a member joins it, who will take about `member_bytes` in an answer.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis did not confirm the subscription.
    pub(crate) async fn enter(&self, id: &RoomId, member_bytes: usize, span: &Span) -> Result<Entering, Fault> {
        Entering::begin(&self.registry, &self.dirty, id, member_bytes, span).await
    }

    /// Removes a member from its room. The caller sends the leave, and drops the guard when it has been carried out.
    pub(crate) fn exit(&self, id: &RoomId, conn: &ConnId) -> Kept {
        let leaving = self.leave(id);
        leaving.room().lock().exit(conn);
        leaving
    }

    /// The leave of a socket that stays a member here, or never became one, is about to be sent. Until it is carried out, Redis
    /// may have one member more than this gateway.
    pub(crate) fn leave(&self, id: &RoomId) -> Kept {
        Kept::new(&self.registry, id, |room| &room.leaving)
    }

    /// Sends a member what its room says of its record, after an answer was lost. What arrives later is sent as it comes.
    pub(crate) fn repeat_record(&self, id: &RoomId, conn: &ConnId) {
        if let Some(room) = self.registry.room(id) {
            room.lock().repeat_record(conn);
        }
    }

    /// Makes sure that the room is subscribed as long as a socket holds a lock of its channels, or waits for one.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis did not confirm the subscription.
    pub(crate) async fn listen(&self, id: &RoomId, span: &Span) -> Result<LockSubscription, Fault> {
        LockSubscription::begin(&self.registry, id, span).await
    }

    /// An event of a room was received.
    pub(crate) fn on_event(&self, channel: &str, text: &str) {
        if let Some(room) = self.room_of(channel) {
            self.delivery.push(&room, text);
        }
    }

    /// Events of any room may have been missed.
    pub(crate) fn on_gap(&self) {
        Partition::all()
            .flat_map(|partition| self.registry.rooms_of(partition))
            .for_each(|room| self.dirty.resync(&room));
    }

    /// Something may have been missed in the room of this channel.
    pub(crate) fn on_channel_gap(&self, channel: &str) {
        if let Some(room) = self.room_of(channel) {
            self.dirty.resync(&room);
        }
    }

    /// The open room whose events come on `channel`.
    fn room_of(&self, channel: &str) -> Option<Arc<RoomHandle>> {
        self.registry.room(&self.bus.subjects().room_of(channel)?)
    }

    /// What Redis holds of these partitions may be older than what it said before. Until `recovers_until`, the members of their
    /// rooms are not sent a leave only because Redis lacks the record.
    pub(crate) fn on_history(&self, partitions: &[Partition], recovers_until: Instant) {
        for &partition in partitions {
            let calm_ms = self.bus.calm_ms(partition);
            for room in self.registry.rooms_of(partition) {
                room.lock().begin_recovery(recovers_until, calm_ms);
                self.dirty.resync(&room);
            }
        }
    }
}
