//! Restores: sends the records of this gateway's members in a room, batch by batch. The last batch names all members, and
//! presence-state removes every other record of this gateway.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rollcall_protocol::{
    ConnId, RoomId,
    command::{Command, Outcome, Restore, Restored, Strays},
};
use rollcall_telemetry::propagation::TraceContext;
use tokio::time::Instant;

use super::{Next, Reassert, Source, Work};

/// A room that is being restored.
pub(super) struct Restoring {
    room: RoomId,
    /// Members whose records are restored.
    done: HashSet<ConnId>,
    waiting: Waiting,
}

impl Reassert {
    /// Restores this gateway's members in a room: Redis lost some, or has older records.
    pub(crate) fn restore(&self, room: &RoomId) {
        self.begin_restore(room, 0);
    }

    /// Starts a restore. `members` is their number, 0 if it is not known yet.
    pub(super) fn begin_restore(&self, room: &RoomId, members: usize) {
        {
            let mut rooms = self.partition(room.partition()).rooms.lock();
            if let Some(again) = rooms.get_mut(room) {
                *again = true;
                return;
            }
            rooms.insert(room.clone(), false);
        }
        let mut waiting = Waiting { sum: Arc::clone(&self.waiting), own: 0 };
        waiting.set(members);
        self.push(Instant::now(), Work::Restore(Restoring { room: room.clone(), done: HashSet::new(), waiting }));
    }

    /// Restores one batch of members.
    pub(super) async fn restore_step(&self, restoring: &mut Restoring) -> Next {
        let source = self.source();
        let own = source.as_ref().and_then(|source| source.room(&restoring.room));
        let (Some(source), Some(own)) = (source, own) else { return self.end_restore(restoring) };
        let (mut members, restored): (Vec<_>, Vec<_>) =
            own.members.into_iter().partition(|conn| !restoring.done.contains(conn));
        if members.is_empty() {
            return self.end_restore(restoring);
        }
        restoring.waiting.set(members.len());
        // The last batch names all members: every other record of this gateway has no connection any more.
        let is_last = own.is_settled && members.len() <= Restore::MOST;
        let before_ms = self.strays_before_ms(restoring.room.partition());
        let strays = is_last.then_some(Strays { before_ms, stay: restored });
        members.truncate(Restore::MOST);
        let records = source.records(&restoring.room, &members);
        if !records.is_empty() && !self.send_restore(&*source, &restoring.room, records, strays).await {
            return Next::Retry;
        }
        restoring.done.extend(members);
        Next::At(Instant::now())
    }

    /// All members are restored. Starts over if another restore was requested meanwhile.
    fn end_restore(&self, restoring: &mut Restoring) -> Next {
        restoring.waiting.set(0);
        let mut rooms = self.partition(restoring.room.partition()).rooms.lock();
        match rooms.get_mut(&restoring.room) {
            Some(again) if *again => {
                *again = false;
                restoring.done.clear();
                Next::At(Instant::now())
            }
            _ => {
                rooms.remove(&restoring.room);
                Next::Done
            }
        }
    }

    /// Sends one batch; returns whether it was carried out.
    async fn send_restore(
        &self,
        source: &dyn Source,
        room: &RoomId,
        records: Vec<Restored>,
        strays: Option<Strays>,
    ) -> bool {
        let restore =
            Restore { room: room.clone(), gateway: self.bus.instance().clone(), members: records.clone(), strays };
        let Ok(Outcome::Restored { written, .. }) = self.call(&Command::Restore(restore)).await else { return false };
        for leave in source.restored(room, &records, written == records.len() as u64) {
            self.pending.send(Command::Leave(leave), None, TraceContext::default());
        }
        true
    }
}

/// One room's part of the number of connections that wait to be restored.
struct Waiting {
    sum: Arc<AtomicUsize>,
    own: usize,
}

impl Waiting {
    fn set(&mut self, now: usize) {
        let before = std::mem::replace(&mut self.own, now);
        // A smaller number wraps, as the addition of the atomic does.
        self.sum.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.set(0);
    }
}
