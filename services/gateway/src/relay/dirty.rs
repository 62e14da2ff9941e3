//! Rooms in which something may be missing: queues of repairs, a few workers for each. A repair fetches a snapshot and brings the
//! members here up to date. A sync does the same for channels and locks, page by page. A catch-up retries members whose queues
//! were full; in a room of megabytes it waits in the line of large work.
//!
//! What fails because Redis is away, or has too much to do, is tried until it succeeds, with back-off, as long as someone is in the
//! room: their own requests are answered `UNAVAILABLE` or `OVERLOADED` meanwhile. A room that cannot be read is given up after a few
//! tries: everyone here is disconnected, comes back, and learns from the answer to the join what is wrong.

mod steps;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rollcall_bus::Bus;
use tokio::{
    task::yield_now,
    time::{Instant, timeout},
};

use super::{
    registry::RoomHandle,
    room::{READS_ON_AFTER, Wanted},
    tries::Tries,
};
use crate::{due_queue::DueQueue, flow::backlog::Backlog, reassert::Reassert};

/// A room is large if its latest answer to a join was. One of a thousand members with small states is not.
const LARGE_ROOM: usize = 1024 * 1024;
/// Members of a large room wait in the line of large work for no longer.
const LARGE_WITHIN: Duration = Duration::from_secs(2);

/// A task that is due for a room.
struct Work {
    room: Arc<RoomHandle>,
    task: Task,
}

enum Task {
    /// A recovery is over: begin a repair, unless one is under way.
    EndRecovery,
    /// Fetch a snapshot for the repair with this number.
    Repair(u64, Tries),
    /// Fetch the next page of the sync.
    Sync(Tries),
    /// Send members that are behind what they missed.
    CatchUp,
}

/// The queue of repairs.
pub(super) struct Dirty {
    bus: Arc<Bus>,
    reassert: Arc<Reassert>,
    /// What is fetched for the first time.
    fetches: DueQueue<Work>,
    /// What failed. A primary that is down costs each try up to 1.8 s, which must not hold up the rooms of others.
    retries: DueQueue<Work>,
    /// What needs no one else: looks, and members that are behind.
    looks: DueQueue<Work>,
    /// Members that are behind in rooms of megabytes, who wait in the line of large work.
    large: DueQueue<Work>,
    backlog: Arc<Backlog>,
}

impl Dirty {
    pub(super) fn new(bus: Arc<Bus>, reassert: Arc<Reassert>, backlog: Arc<Backlog>) -> Self {
        let [fetches, retries, looks, large] = std::array::from_fn(|_| DueQueue::new());
        Self { bus, reassert, fetches, retries, looks, large, backlog }
    }

    /// Schedules what a room wants.
    pub(super) fn schedule(&self, room: &Arc<RoomHandle>, wanted: Wanted) {
        if wanted.snapshot {
            self.repair(room);
        }
        if wanted.catch_up && !room.catch_up_scheduled.swap(true, Ordering::AcqRel) {
            self.after(READS_ON_AFTER, room, Task::CatchUp);
        }
    }

    /// Events of a room may be missing: begins a repair, or has the one that is under way fetch another snapshot.
    pub(super) fn repair(&self, room: &Arc<RoomHandle>) {
        if self.begin_repair(room) {
            rollcall_telemetry::metrics::gap();
        }
    }

    /// Returns whether a repair begins.
    fn begin_repair(&self, room: &Arc<RoomHandle>) -> bool {
        let begun = room.lock().begin_repair();
        let task = begun.map(|number| Task::Repair(number, Tries::new()));
        task.map(|task| self.after(Duration::ZERO, room, task)).is_some()
    }

    /// Changes of channels or locks may be missing: begins a sync, or has the one that is under way run again.
    pub(super) fn sync(&self, room: &Arc<RoomHandle>) {
        if room.lock().begin_sync() {
            self.after(Duration::ZERO, room, Task::Sync(Tries::new()));
        }
    }

    /// Anything of a room may have been missed: begins a repair and a sync, and has waiters for locks ask again.
    pub(super) fn resync(&self, room: &Arc<RoomHandle>) {
        self.repair(room);
        self.sync(room);
        room.lock().invalidate_lock_waits();
    }

    fn after(&self, wait: Duration, room: &Arc<RoomHandle>, task: Task) {
        self.at(Instant::now() + wait, room, task);
    }

    fn at(&self, at: Instant, room: &Arc<RoomHandle>, task: Task) {
        let queue = match &task {
            Task::CatchUp if is_large(room) => &self.large,
            Task::EndRecovery | Task::CatchUp => &self.looks,
            Task::Repair(_, tries) | Task::Sync(tries) if tries.have_failed() => &self.retries,
            Task::Repair(..) | Task::Sync(_) => &self.fetches,
        };
        queue.push(at, Work { room: Arc::clone(room), task });
    }

    /// What a worker of fetches does, forever.
    pub(super) async fn fetch(&self) {
        loop {
            self.carry_out(self.fetches.next().await).await;
        }
    }

    /// What a worker of retries does, forever.
    pub(super) async fn retry(&self) {
        loop {
            self.carry_out(self.retries.next().await).await;
        }
    }

    /// What the worker of everything else does, forever.
    pub(super) async fn look(&self) {
        loop {
            self.carry_out(self.looks.next().await).await;
            yield_now().await;
        }
    }

    /// What the worker of large rooms does, forever.
    pub(super) async fn look_at_large(&self) {
        loop {
            let work = self.large.next().await;
            // What it takes is charged once it is known. However long the line is, the room is not forgotten.
            let _ = timeout(LARGE_WITHIN, self.backlog.pace.turn(0)).await;
            self.carry_out(work).await;
            yield_now().await;
        }
    }

    async fn carry_out(&self, Work { room, task }: Work) {
        match task {
            // No gap: what may be missing was counted when the recovery began.
            Task::EndRecovery => drop(self.begin_repair(&room)),
            Task::Repair(number, tries) => self.repair_step(&room, number, tries).await,
            Task::Sync(tries) => self.sync_step(&room, tries).await,
            Task::CatchUp => self.catch_up(&room),
        }
    }
}

/// Whether members of the room that are behind may be sent megabytes each.
fn is_large(room: &RoomHandle) -> bool {
    room.answer_bytes.load(Ordering::Relaxed) >= LARGE_ROOM
}
