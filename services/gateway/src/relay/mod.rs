//! The relay: rooms in which this gateway has sockets, what they say, and to whom it goes. It subscribes before a join is
//! sent and unsubscribes some seconds after the last socket left; whatever it may have missed it fetches.
//!
//! - `room`: one room as its members know it: the position in its events, who is seated. No I/O.
//! - `seat`: one member's place: where it stands, what it was shown. `roster`: who is there.
//! - `publication`: an event as its members receive it.
//! - `repair`: the way back from a gap; `reconcile`: what a snapshot does to a room; `truth`: what it says to a member.
//! - `metadata`, `locks`: what members were told of channels, and who waits for a lock; `catchup`: the way back when they
//!   missed a change.
//! - `own`: the members here, as the gateway restores them. `guard`: what keeps a room from being forgotten.

mod catchup;
mod guard;
mod locks;
mod metadata;
mod own;
mod publication;
mod reconcile;
mod repair;
mod room;
mod roster;
mod seat;
#[cfg(test)]
mod tests;
mod truth;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bus::Bus;
use parking_lot::{Mutex, MutexGuard};
use protocol::{
    ConnId, Fault, Partition, RoomId,
    client::{JoinAnswer, Member, OwnConn},
    command::Joined,
    event::{RoomEvent, lock::LockEvent, metadata::MetadataEvent},
};
use service::Tasks;
use telemetry::propagation::TraceContext;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::{MissedTickBehavior, interval},
};
use tracing::Span;

use self::{
    guard::Kept,
    room::{Heard, State},
};
pub(crate) use self::{
    guard::Leaving,
    locks::{Interest, News},
};
use crate::{
    reassert::Reassert,
    socket::{answer::Answer, session::Session},
};

/// A room without sockets stays subscribed this long: who leaves often comes back.
const LINGER: Duration = Duration::from_secs(5);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Repairs that fetch a snapshot at a time.
const REPAIRS: usize = 32;

/// See the module.
pub(crate) struct Relay {
    /// Itself, for the tasks that it starts.
    me: Weak<Relay>,
    bus: Arc<Bus>,
    reassert: Arc<Reassert>,
    partitions: Vec<Rooms>,
    /// Rooms that lost their last socket, and when.
    emptied: Mutex<VecDeque<(Instant, RoomId)>>,
    repairs: Semaphore,
}

/// The rooms of one partition.
#[derive(Default)]
struct Rooms {
    open: Mutex<HashMap<RoomId, Arc<Room>>>,
    /// Whether there ever was one.
    had_some: AtomicBool,
}

/// A room that this gateway listens to.
struct Room {
    id: RoomId,
    channel: String,
    subscribed: OnceCell<()>,
    /// Sockets here that hold a lock of the room's channels or wait for one, in the room or not.
    interests: AtomicUsize,
    /// Leaves of sockets here that are not carried out yet.
    leaving: AtomicUsize,
    state: Mutex<State<Arc<Session>>>,
}

impl Room {
    /// Whether nobody here has anything to do with it.
    fn is_idle(&self) -> bool {
        self.interests.load(Ordering::Acquire) == 0
            && self.leaving.load(Ordering::Acquire) == 0
            && self.lock().is_idle()
    }

    fn lock(&self) -> MutexGuard<'_, State<Arc<Session>>> {
        self.state.lock()
    }
}

impl Relay {
    pub(crate) fn new(bus: Arc<Bus>, reassert: Arc<Reassert>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            bus,
            reassert,
            partitions: Partition::all().map(|_| Rooms::default()).collect(),
            emptied: Mutex::default(),
            repairs: Semaphore::new(REPAIRS),
        })
    }

    /// Begins to forget rooms that no one here is in any more.
    pub(crate) fn start(self: &Arc<Self>, tasks: &Tasks) {
        let relay = Arc::clone(self);
        tasks.spawn_permanent("forgetting rooms", async move {
            let mut tick = interval(SWEEP_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                relay.forget_emptied().await;
            }
        });
    }

    /// Makes sure that the room is heard before somebody joins it.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis did not confirm the subscription.
    pub(crate) async fn enter(self: &Arc<Self>, id: &RoomId, span: &Span) -> Result<Entering, Fault> {
        let room = self.open(id, |room| room.lock().join_began());
        let entering = Entering { relay: Arc::clone(self), room };
        self.subscribe(&entering.room, span).await.map(|()| entering)
    }

    /// Makes sure that the room is heard as long as somebody has an interest in a lock of its channels.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis did not confirm the subscription.
    pub(crate) async fn listen(self: &Arc<Self>, id: &RoomId, span: &Span) -> Result<Interest, Fault> {
        let interest = Interest::new(self.keep(id, |room| &room.interests));
        self.subscribe(interest.room(), span).await.map(|()| interest)
    }

    /// The room, which is not forgotten as long as the guard lives, and counts it.
    fn keep(self: &Arc<Self>, id: &RoomId, counter: fn(&Room) -> &AtomicUsize) -> Kept {
        let count = |room: &Room| {
            counter(room).fetch_add(1, Ordering::AcqRel);
        };
        Kept { room: self.open(id, count), relay: Arc::clone(self), counter }
    }

    /// The room, which `begin` keeps from being forgotten.
    fn open(&self, id: &RoomId, begin: impl FnOnce(&Room)) -> Arc<Room> {
        let rooms = self.rooms(id.partition());
        rooms.had_some.store(true, Ordering::Relaxed);
        let mut open = rooms.open.lock();
        let room = open.entry(id.clone()).or_insert_with(|| {
            Arc::new(Room {
                id: id.clone(),
                channel: self.bus.subjects().room_events(id),
                subscribed: OnceCell::new(),
                interests: AtomicUsize::new(0),
                leaving: AtomicUsize::new(0),
                state: Mutex::default(),
            })
        });
        begin(room);
        Arc::clone(room)
    }

    async fn subscribe(&self, room: &Room, span: &Span) -> Result<(), Fault> {
        let subscribe = || {
            let span = telemetry::span::command(span, "ssubscribe", &room.channel);
            bus::redis::observed(span, "ssubscribe", "", self.bus.subscribe(&room.channel))
        };
        let subscribed = room.subscribed.get_or_try_init(subscribe).await;
        subscribed.map(|_| ()).map_err(|error| {
            tracing::debug!(%error, room = %room.id, "the room could not be subscribed");
            Fault::unavailable()
        })
    }

    /// Removes a socket from its room. Its leave has to be sent, and the guard dropped when that is carried out.
    pub(crate) fn exit(self: &Arc<Self>, id: &RoomId, conn: &ConnId) -> Leaving {
        let leaving = self.leave(id);
        leaving.room().lock().exit(conn);
        leaving
    }

    /// A leave of a socket that stays in the relay, or never came there, is about to be sent.
    pub(crate) fn leave(self: &Arc<Self>, id: &RoomId) -> Leaving {
        Leaving::new(self.keep(id, |room| &room.leaving))
    }

    fn rooms(&self, partition: Partition) -> &Rooms {
        &self.partitions[partition.index()]
    }

    fn room(&self, id: &RoomId) -> Option<Arc<Room>> {
        self.rooms(id.partition()).open.lock().get(id).cloned()
    }

    /// The rooms of a partition.
    fn rooms_of(&self, partition: Partition) -> Vec<Arc<Room>> {
        self.rooms(partition).open.lock().values().cloned().collect()
    }

    /// Notes that a room may have become idle.
    fn forget_soon(&self, room: &Room) {
        if room.is_idle() {
            self.emptied.lock().push_back((Instant::now(), room.id.clone()));
        }
    }

    async fn forget_emptied(&self) {
        loop {
            let id = {
                let mut emptied = self.emptied.lock();
                match emptied.front() {
                    Some((at, _)) if at.elapsed() >= LINGER => emptied.pop_front().map(|(_, id)| id),
                    _ => None,
                }
            };
            let Some(id) = id else { return };
            let unsubscribed = {
                let mut open = self.rooms(id.partition()).open.lock();
                let idle = open.get(&id).is_some_and(|room| room.is_idle());
                let forgotten = if idle { open.remove(&id) } else { None };
                // Before anybody can enter the room anew, and subscribe.
                forgotten.map(|room| Box::pin(self.bus.unsubscribe(&room.channel)))
            };
            if let Some(unsubscribed) = unsubscribed {
                unsubscribed.await;
            }
        }
    }
}

impl Relay {
    /// A room said something.
    pub(crate) fn on_event(&self, channel: &str, text: &str) {
        let Some(room) = self.bus.subjects().room_of(channel).and_then(|id| self.room(&id)) else { return };
        if MetadataEvent::is(text) {
            return self.on_metadata(&room, text);
        }
        if LockEvent::is(text) {
            return self.on_lock(&room, text);
        }
        let Some(event) = RoomEvent::read(text) else {
            tracing::warn!(channel, "dropped malformed room event");
            return;
        };
        let mut state = room.lock();
        let heard = state.hear(&room.id, text, &event);
        let recipients = state.seats.len();
        let needs_snapshot = state.take_needs_snapshot();
        drop(state);
        if needs_snapshot {
            self.repair(&room);
        }
        match heard {
            Heard::Gap => self.repair(&room),
            Heard::Delivered => {
                telemetry::metrics::delivered(event.kind.as_str(), recipients);
                if event.traceparent.is_some() {
                    let span = telemetry::span::deliver(&room.channel, room.id.as_str(), recipients);
                    TraceContext::read(event.traceparent, None).adopt(&span);
                }
            }
            Heard::Kept => {}
        }
    }

    /// Something may have been missed in any room.
    pub(crate) fn on_gap(&self) {
        Partition::all().flat_map(|partition| self.rooms_of(partition)).for_each(|room| self.look_again(&room));
    }

    /// What Redis holds of these partitions may be older than what it said before. Until `recovers_until`, the members of their
    /// rooms are not told that someone left only because Redis lacks the record.
    pub(crate) fn on_history(&self, partitions: &[Partition], recovers_until: Instant) {
        for &partition in partitions {
            let calm_ms = self.bus.calm_ms(partition);
            for room in self.rooms_of(partition) {
                room.lock().begin_recovery(recovers_until, calm_ms);
                self.look_again(&room);
            }
        }
    }

    /// Members are brought up to date with everything of the room, and those who wait for a lock ask again.
    fn look_again(&self, room: &Arc<Room>) {
        self.repair(room);
        self.catch_up(room);
        room.lock().locks.doubt();
    }
}

/// A join under way: the room is heard, and what it says meanwhile is kept for the one who joins.
pub(crate) struct Entering {
    relay: Arc<Relay>,
    room: Arc<Room>,
}

impl Entering {
    /// Holds events back from a member that joins again: its answer comes first.
    pub(crate) fn hold(&self, session: &Session) {
        self.room.lock().hold(&session.conn);
    }

    /// A rejoin failed: the member goes on, from a snapshot, since it may have missed something.
    pub(crate) fn release(&self, session: &Session) {
        self.room.lock().release(&session.conn);
        self.relay.repair(&self.room);
    }

    /// Answers the join and seats the member: the answer first, then every event after it.
    pub(crate) fn admit(self, session: &Arc<Session>, joined: &Joined, index: usize, epoch: u64, answer: Answer) {
        let mut state = self.room.lock();
        state.begin(&self.room.id, joined, index);
        let snapshot: Vec<_> = joined.seen_by(index).map(|member| Member::new(member, joined.seen_ms)).collect();
        answer.span().record("presence.snapshot_size", snapshot.len() as i64);
        answer.send(&JoinAnswer {
            ok: true,
            snapshot,
            own: OwnConn { conn_id: &session.conn, epoch },
            seq: joined.joins[index].seq,
            birth: joined.birth,
        });
        let complete = state.seat(&self.room.id, &session.conn, Arc::clone(session), joined, index);
        drop(state);
        if !complete {
            self.relay.repair(&self.room);
        }
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        self.room.lock().join_ended();
        self.relay.forget_soon(&self.room);
    }
}
