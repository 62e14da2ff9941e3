//! Rooms in which something may be missing: queues of repairs, a few workers for each. A repair fetches a snapshot and brings the
//! members here up to date. A sync does the same for channels and locks, page by page. A catch-up retries members whose queues
//! were full; in a room of megabytes it waits in the line of large work.
//!
//! What fails because Redis is away, or has too much to do, is tried until it succeeds, with back-off, as long as someone is in the
//! room: their own requests are answered `UNAVAILABLE` or `OVERLOADED` meanwhile. A room that cannot be read is given up after a few
//! tries: everyone here is disconnected, comes back, and learns from the answer to the join what is wrong.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rollcall_bus::Bus;
use rollcall_protocol::{
    Fault,
    command::{Command, Outcome, SnapshotQuery},
};
use rollcall_telemetry::propagation::TraceContext;
use tokio::{
    task::yield_now,
    time::{Instant, timeout},
};

use super::{
    member::Member,
    registry::RoomHandle,
    room::{Behind, READS_ON_AFTER, RECOVERY, Repaired, Wanted},
    tries::Tries,
};
use crate::{due_queue::DueQueue, flow::backlog::Backlog, reassert::Reassert};

/// The pause before another snapshot if events went missing while one was fetched, so that no room keeps a worker busy.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
/// A room is large if its latest answer to a join was. One of a thousand members with small states is not.
const LARGE_ROOM: usize = 1024 * 1024;
/// Members of a large room wait in the line of large work for no longer.
const LARGE_WITHIN: Duration = Duration::from_secs(2);
/// Large work waits for no more of what a room's members were sent: while a room recovers they are sent everything in one go.
const MOST_CHARGED: usize = 16 * 1024 * 1024;
/// Members that are disconnected before other tasks have a turn.
const DISCONNECTED_AT_ONCE: usize = 64;

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

    async fn repair_step(&self, room: &Arc<RoomHandle>, number: u64, mut tries: Tries) {
        let Some((known, received)) = room.lock().ask(number) else { return };
        let asked_at = Instant::now().into_std();
        let query = Command::Snapshot(SnapshotQuery { room: room.id.clone(), known });
        let answer = self.call(&query).await;
        let answer = answer.and_then(|outcome| match outcome {
            Outcome::Unchanged => Ok(None),
            Outcome::Snapshot(snapshot) => Ok(Some(snapshot)),
            _ => Err(Fault::unexpected()),
        });
        let snapshot = match answer {
            Ok(snapshot) => snapshot,
            Err(fault) => match tries.failed(&fault) {
                Some(wait) => return self.after(wait, room, Task::Repair(number, tries)),
                None => {
                    let members = room.lock().give_up_repair(number);
                    return disconnect(room, members, &fault).await;
                }
            },
        };
        let (repaired, wanted) = {
            let mut state = room.lock();
            if !state.repairs(number) {
                return;
            }
            match snapshot {
                None => state.bring_up_to_date(&room.id, self.bus.seen_ms(), Instant::now().into_std()),
                Some(snapshot) => {
                    let truce = self.bus.truce().map(|truce| truce.left).unwrap_or_default();
                    let calm_ms = self.bus.calm_ms(room.id.partition());
                    let lost = state.reconcile(&room.id, &snapshot, asked_at, RECOVERY.max(truce), calm_ms);
                    if !lost.is_empty() {
                        self.reassert.restore(&room.id);
                    }
                }
            }
            let repaired = state.go_on(&room.id, received, Instant::now().into_std());
            (repaired, state.take_wanted())
        };
        self.schedule(room, wanted);
        match repaired {
            Repaired::Not => self.after(AGAIN_AFTER, room, Task::Repair(number, Tries::new())),
            Repaired::Done { recovers_until, behind } => {
                if let Some(until) = recovers_until {
                    self.at(until.into(), room, Task::EndRecovery);
                }
                self.schedule_behind(room, behind);
            }
        }
    }

    async fn sync_step(&self, room: &Arc<RoomHandle>, mut tries: Tries) {
        let Some(asked) = room.lock().ask_for_channels(&room.id) else { return };
        let answer = match self.call(&Command::Catchup(asked)).await {
            Ok(Outcome::Catchup { records, locks, after }) => Ok((records, locks, after)),
            Ok(_) => Err(Fault::unexpected()),
            Err(fault) => Err(fault),
        };
        let (records, locks, after) = match answer {
            Ok(page) => page,
            Err(fault) => match tries.failed(&fault) {
                Some(wait) => return self.after(wait, room, Task::Sync(tries)),
                None => {
                    let members = room.lock().give_up_channels();
                    return disconnect(room, members, &fault).await;
                }
            },
        };
        let locks = after.is_none().then_some(&*locks);
        let now = Instant::now().into_std();
        let synced = room.lock().take_channels(&room.id, &records, locks, after.as_ref(), now);
        synced.late.into_iter().for_each(|member| member.too_slow("it took no change of metadata or locks"));
        if let Some(wait) = synced.next {
            self.after(wait, room, Task::Sync(Tries::new()));
        }
    }

    fn catch_up(&self, room: &Arc<RoomHandle>) {
        // A member that falls behind from here on schedules another catch-up.
        room.catch_up_scheduled.store(false, Ordering::Release);
        let (behind, wanted) = {
            let mut state = room.lock();
            let behind = state.catch_up_members(&room.id, self.bus.seen_ms(), Instant::now().into_std());
            (behind, state.take_wanted())
        };
        self.schedule_behind(room, behind);
        self.schedule(room, wanted);
    }

    fn schedule_behind(&self, room: &Arc<RoomHandle>, behind: Behind<Arc<dyn Member>>) {
        if is_large(room) {
            self.backlog.pace.charge(behind.sent.min(MOST_CHARGED));
        }
        behind.late.into_iter().for_each(|member| member.too_slow("it stayed behind the room's events"));
        if let Some(next) = behind.next
            && !room.catch_up_scheduled.swap(true, Ordering::AcqRel)
        {
            self.at(next.into(), room, Task::CatchUp);
        }
    }

    async fn call(&self, command: &Command) -> Result<Outcome, Fault> {
        self.bus.call(command, TraceContext::default()).await?.into_outcome()
    }
}

/// Whether members of the room that are behind may be sent megabytes each.
fn is_large(room: &RoomHandle) -> bool {
    room.answer_bytes.load(Ordering::Relaxed) >= LARGE_ROOM
}

/// Disconnects who was in a room that cannot be read, some at a time.
async fn disconnect(room: &RoomHandle, members: Vec<Arc<dyn Member>>, fault: &Fault) {
    if members.is_empty() {
        return;
    }
    tracing::warn!(room = %room.id, members = members.len(), error = %fault, "room cannot be read; disconnecting its members");
    for (index, member) in members.into_iter().enumerate() {
        if index % DISCONNECTED_AT_ONCE == DISCONNECTED_AT_ONCE - 1 {
            yield_now().await;
        }
        member.disconnect();
    }
}
