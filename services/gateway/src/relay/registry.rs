//! The subscribed rooms. A room is subscribed before a join is sent, and unsubscribed 5 s after the last socket left it, because
//! clients that leave often come back.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use rollcall_bus::Bus;
use rollcall_protocol::{Fault, Partition, RoomId};
use tokio::{
    sync::{Mutex as AsyncMutex, OnceCell, Semaphore},
    time::Instant,
};
use tracing::Span;

use super::{inbox::Inbox, member::Member, room::Room};
use crate::due_queue::DueQueue;

/// How long a room without sockets stays subscribed.
const LINGER: Duration = Duration::from_secs(5);

/// The most KiB of answers to the joins of one room that are carried out at once.
pub(super) const ASKED_KIB: u32 = 8 * 1024;

/// A room with connections as its members.
pub(super) type MemberRoom = Room<Arc<dyn Member>>;

/// A subscribed room.
pub(super) struct RoomHandle {
    pub(super) id: RoomId,
    pub(super) channel: String,
    subscribed: OnceCell<()>,
    /// Joins under way.
    pub(super) entering: AtomicUsize,
    /// Sockets here that hold a lock of the room's channels or wait for one, in the room or not.
    pub(super) lock_subscriptions: AtomicUsize,
    /// Leaves of sockets here that are not carried out yet.
    pub(super) leaving: AtomicUsize,
    /// KiB of answers to joins that wait for presence-state's reply, or for room: each may have its own reply of 8 MiB.
    pub(super) asking: Arc<Semaphore>,
    /// Held by the join that waits in the line of large work.
    pub(super) place: AsyncMutex<()>,
    /// The size of the latest answer to a join here.
    pub(super) answer_bytes: AtomicUsize,
    /// How often it became idle.
    idled: AtomicU64,
    /// Events that were received and not delivered yet.
    pub(super) inbox: Mutex<Inbox>,
    /// Whether a catch-up is scheduled for members that are behind.
    pub(super) catch_up_scheduled: AtomicBool,
    room: Mutex<MemberRoom>,
}

impl RoomHandle {
    pub(super) fn new(id: RoomId, channel: String) -> Self {
        Self {
            id,
            channel,
            subscribed: OnceCell::new(),
            entering: AtomicUsize::new(0),
            lock_subscriptions: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            asking: Arc::new(Semaphore::new(ASKED_KIB as usize)),
            place: AsyncMutex::default(),
            answer_bytes: AtomicUsize::new(0),
            idled: AtomicU64::new(0),
            inbox: Mutex::default(),
            catch_up_scheduled: AtomicBool::new(false),
            room: Mutex::default(),
        }
    }

    /// Whether no one here has anything to do with it; `None` if that cannot be said without waiting for its lock.
    fn is_idle(&self) -> Option<bool> {
        let is_counted = [&self.entering, &self.lock_subscriptions, &self.leaving]
            .iter()
            .any(|count| count.load(Ordering::Acquire) > 0);
        if is_counted { Some(false) } else { self.room.try_lock().map(|room| room.is_idle()) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, MemberRoom> {
        self.room.lock()
    }
}

/// The subscribed rooms.
pub(super) struct Registry {
    bus: Arc<Bus>,
    partitions: Vec<Rooms>,
    /// Rooms that became idle, each with the value of its `idled` at that time.
    idle: DueQueue<(RoomId, u64)>,
}

/// The rooms of one partition.
#[derive(Default)]
struct Rooms {
    open: Mutex<HashMap<RoomId, Arc<RoomHandle>>>,
    /// Whether there ever was one.
    had_some: AtomicBool,
}

impl Registry {
    pub(super) fn new(bus: Arc<Bus>) -> Self {
        Self { bus, partitions: Partition::all().map(|_| Rooms::default()).collect(), idle: DueQueue::new() }
    }

    /// The room, with one more in a counter that keeps it from being forgotten. Waits for no room's lock, because the task that
    /// receives events looks rooms up.
    pub(super) fn open(&self, id: &RoomId, counter: fn(&RoomHandle) -> &AtomicUsize) -> Arc<RoomHandle> {
        let rooms = self.rooms(id.partition());
        rooms.had_some.store(true, Ordering::Relaxed);
        let mut open = rooms.open.lock();
        let room = open
            .entry(id.clone())
            .or_insert_with(|| Arc::new(RoomHandle::new(id.clone(), self.bus.subjects().room_events(id))));
        counter(room).fetch_add(1, Ordering::AcqRel);
        Arc::clone(room)
    }

    /// Subscribes the room, unless it is.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis did not confirm the subscription.
    pub(super) async fn subscribe(&self, room: &RoomHandle, span: &Span) -> Result<(), Fault> {
        let subscribe = || {
            let span = rollcall_telemetry::span::command(span, "ssubscribe", &room.channel);
            rollcall_bus::redis::observed(span, "ssubscribe", "", self.bus.subscribe(&room.channel))
        };
        let subscribed = room.subscribed.get_or_try_init(subscribe).await;
        subscribed.map(|_| ()).map_err(|error| {
            tracing::debug!(%error, room = %room.id, "room not subscribed");
            Fault::unavailable()
        })
    }

    fn rooms(&self, partition: Partition) -> &Rooms {
        &self.partitions[partition.index()]
    }

    /// An open room.
    pub(super) fn room(&self, id: &RoomId) -> Option<Arc<RoomHandle>> {
        self.rooms(id.partition()).open.lock().get(id).cloned()
    }

    /// The open rooms of a partition.
    pub(super) fn rooms_of(&self, partition: Partition) -> Vec<Arc<RoomHandle>> {
        self.rooms(partition).open.lock().values().cloned().collect()
    }

    /// How many different users the members here are. Looks at each of them: for metrics, every ten seconds.
    pub(super) fn users(&self) -> usize {
        let (hashes, mut users) = (RandomState::new(), HashSet::new());
        for room in Partition::all().flat_map(|partition| self.rooms_of(partition)) {
            users.extend(room.lock().users().map(|user| hashes.hash_one(user)));
        }
        users.len()
    }

    /// Whether there ever was a room in a partition.
    pub(super) fn had_rooms(&self, partition: Partition) -> bool {
        self.rooms(partition).had_some.load(Ordering::Relaxed)
    }

    /// A user of the room is gone. If it was the last one, the room is forgotten 5 s later.
    pub(super) fn forget_if_idle(&self, room: &RoomHandle) {
        if room.is_idle() != Some(false) {
            let idled = room.idled.fetch_add(1, Ordering::AcqRel) + 1;
            self.idle.push(Instant::now() + LINGER, (room.id.clone(), idled));
        }
    }

    /// Unsubscribes and forgets rooms that stayed idle, one after the other. Several workers may run it.
    pub(super) async fn forget_forever(&self) {
        loop {
            let (id, idled) = self.idle.next().await;
            if let Some(unsubscribed) = self.forget(&id, idled) {
                unsubscribed.await;
            }
        }
    }

    /// Forgets a room, unless someone came since it became idle, or came and left again: then its time starts over.
    fn forget(&self, id: &RoomId, idled: u64) -> Option<impl Future<Output = ()>> {
        let mut open = self.rooms(id.partition()).open.lock();
        let room = open.get(id).filter(|room| room.idled.load(Ordering::Acquire) == idled)?;
        match room.is_idle() {
            Some(true) => {}
            Some(false) => return None,
            None => {
                self.idle.push(Instant::now() + LINGER, (id.clone(), idled));
                return None;
            }
        }
        let room = open.remove(id)?;
        // Before anyone can enter the room again, and subscribe.
        Some(Box::pin(self.bus.unsubscribe(&room.channel)))
    }
}
