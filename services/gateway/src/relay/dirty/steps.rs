//! One step of a repair, a sync or a catch-up of a room.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rollcall_protocol::{
    Fault,
    command::{Command, Outcome, SnapshotQuery},
};
use rollcall_telemetry::propagation::TraceContext;
use tokio::{task::yield_now, time::Instant};

use super::{Dirty, Task, is_large};
use crate::relay::{
    member::Member,
    registry::RoomHandle,
    room::{Behind, RECOVERY, Repaired},
    tries::Tries,
};

/// The pause before another snapshot if events went missing while one was fetched, so that no room keeps a worker busy.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
/// Large work waits for no more of what a room's members were sent: while a room recovers they are sent everything in one go.
const MOST_CHARGED: usize = 16 * 1024 * 1024;
/// Members that are disconnected before other tasks have a turn.
const DISCONNECTED_AT_ONCE: usize = 64;

impl Dirty {
    pub(super) async fn repair_step(&self, room: &Arc<RoomHandle>, number: u64, mut tries: Tries) {
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

    pub(super) async fn sync_step(&self, room: &Arc<RoomHandle>, mut tries: Tries) {
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

    pub(super) fn catch_up(&self, room: &Arc<RoomHandle>) {
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

/// Disconnects everyone here who was in a room that cannot be read, some at a time.
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
