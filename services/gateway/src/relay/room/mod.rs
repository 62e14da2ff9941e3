//! One room as its members here know it: the position in its events, the roster, the subscribers. Events are applied in `seq`
//! order or not at all; an event after a gap waits for a repair. No I/O except sends to members' queues, no clock, no tasks.
//!
//! Each of these modules uses only earlier ones: `position`, `roster`, `shown` (what a member was sent), `publication` (an encoded
//! event), `turn` (how much is sent at a time), `resync` (what a snapshot changes for a member), `subscriber`, `channels` and
//! `lock_board` (metadata and locks of the room's name), `backlog` and `joins` (events that wait, and those kept for joins under way),
//! `recovery`. The room itself: `events` applies events, `admission` adds and removes members, `catch_up` brings those up to date that
//! are behind, `repair` runs repairs, `reconcile` applies a snapshot.

mod admission;
mod backlog;
mod catch_up;
mod channels;
mod events;
mod joins;
mod lock_board;
mod position;
mod publication;
mod reconcile;
mod recovery;
mod repair;
mod resync;
mod roster;
mod shown;
mod sink;
mod subscriber;
#[cfg(test)]
mod tests;
mod turn;

use std::time::{Duration, Instant};

use rollcall_protocol::{
    ChannelType, ConnId, LockId, Position, RoomId, UserId,
    command::{Catchup, lock::Held, metadata::TypedRecord},
    event::{lock::LockEvent, metadata::MetadataEvent},
};
use tokio::sync::watch;

pub(crate) use self::lock_board::LockUpdate;
use self::{
    backlog::Backlog, catch_up::Pass, channels::Channels, joins::Joins, lock_board::LockBoard, recovery::Recovery,
    roster::Roster, subscriber::Subscribers,
};
pub(super) use self::{
    catch_up::{Behind, READS_ON_AFTER},
    channels::Synced,
    events::Heard,
    joins::Join,
    recovery::RECOVERY,
    repair::Repaired,
    sink::Sink,
};

/// A member that takes nothing of what it must not miss for this long is closed.
const BEHIND_LIMIT: Duration = Duration::from_secs(10);
/// When a member that has no room in its queue is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// The bound of the events that wait for a repair, and of those kept for joins under way. Beyond it, a snapshot replaces them.
const MOST_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// How the room handles the next event.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// No join was answered yet; events wait.
    Unknown {
        /// Events may have been missed since the first join began.
        missed: bool,
    },
    /// The roster is at this position, and the next event is applied as it comes.
    Live(Position),
    /// A snapshot is being fetched; events wait.
    Repairing {
        at: Position,
        /// The repair's number: a repair that the room forgot, because it had no members left, must not end a later one.
        number: u64,
        /// More events went missing meanwhile.
        again: bool,
    },
}

/// What a room needs since this was last asked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// A snapshot: a member may not be in the room's history, or the last member that was held back was restored.
    pub(super) snapshot: bool,
    /// A catch-up: a member had no room for an event.
    pub(super) catch_up: bool,
}

/// A room as its members here know it.
pub(super) struct Room<S> {
    phase: Phase,
    /// How many repairs there were.
    repairs: u64,
    /// Redis may have lost data of the room, and gateways have time to restore their members. Independent of the phase: between
    /// its snapshots a room that recovers is live.
    recovery: Option<Recovery>,
    /// An event of another history was received since the last snapshot.
    forked: bool,
    wanted: Wanted,
    /// Who is brought up to date.
    pass: Pass,
    roster: Roster,
    subscribers: Subscribers<S>,
    joins: Joins,
    backlog: Backlog,
    channels: Channels,
    locks: LockBoard,
}

impl<S> Default for Room<S> {
    fn default() -> Self {
        Self {
            phase: Phase::Unknown { missed: false },
            repairs: 0,
            recovery: None,
            forked: false,
            wanted: Wanted::default(),
            pass: Pass::default(),
            roster: Roster::default(),
            subscribers: Subscribers::new(),
            joins: Joins::default(),
            backlog: Backlog::default(),
            channels: Channels::default(),
            locks: LockBoard::default(),
        }
    }
}

impl<S: Sink> Room<S> {
    /// Whether no one here is in the room or about to be.
    pub(super) fn is_idle(&self) -> bool {
        self.subscribers.is_empty() && !self.joins.any()
    }

    /// Whether a join is under way.
    pub(super) fn is_joining(&self) -> bool {
        self.joins.any()
    }

    /// The members here.
    pub(super) fn members(&self) -> impl Iterator<Item = &S> {
        self.subscribers.values().map(|subscriber| &subscriber.sink)
    }

    /// The users of the members here.
    pub(super) fn users(&self) -> impl Iterator<Item = &UserId> {
        self.subscribers.keys().filter_map(|conn| Some(&self.roster.get(conn.as_str())?.user))
    }

    /// A member here.
    pub(super) fn member(&self, conn: &ConnId) -> Option<&S> {
        self.subscribers.get(conn).map(|subscriber| &subscriber.sink)
    }

    /// Tells a member here what the roster says of it.
    pub(super) fn repeat_record(&self, conn: &ConnId) {
        if let (Some(subscriber), Some(known)) = (self.subscribers.get(conn), self.roster.get(conn.as_str())) {
            subscriber.sink.recorded(known.epoch, known.op, known.info.as_ref(), &known.state);
        }
    }

    /// How many members are here.
    pub(super) fn count(&self) -> usize {
        self.subscribers.len()
    }

    /// The position of the roster; `None` before the first join was answered.
    fn position(&self) -> Option<Position> {
        match self.phase {
            Phase::Unknown { .. } => None,
            Phase::Live(at) | Phase::Repairing { at, .. } => Some(at),
        }
    }

    fn move_to(&mut self, to: Position) {
        match &mut self.phase {
            Phase::Unknown { .. } => self.phase = Phase::Live(to),
            Phase::Live(at) | Phase::Repairing { at, .. } => *at = to,
        }
    }

    fn is_repairing(&self) -> bool {
        matches!(self.phase, Phase::Repairing { .. })
    }

    /// Forgets everything about the room; the next join starts over.
    fn forget(&mut self) {
        self.phase = Phase::Unknown { missed: false };
        self.roster = Roster::default();
        self.backlog.clear();
        self.pass.forget();
        self.joins.forget();
        (self.recovery, self.forked) = (None, false);
        self.channels.forget();
    }

    /// What the room needs since this was last asked.
    pub(super) fn take_wanted(&mut self) -> Wanted {
        std::mem::take(&mut self.wanted)
    }
}

impl<S: Sink> Room<S> {
    /// A channel of the room's name changed. Returns whether a sync is needed.
    pub(super) fn hear_metadata(&mut self, id: &RoomId, event: &MetadataEvent<'_>) -> bool {
        self.channels.hear(id, &mut self.subscribers, event)
    }

    /// A lock of the room's name was acquired or ended. Returns whether a sync is needed.
    pub(super) fn hear_lock(&mut self, id: &RoomId, event: &LockEvent<'_>) -> bool {
        self.locks.hear(id, &mut self.subscribers, event, self.channels.is_syncing())
    }

    /// Changes of channels or locks may have been missed. Returns whether a sync begins: not if one is under way, or if there are
    /// no members here.
    pub(super) fn begin_sync(&mut self) -> bool {
        !self.subscribers.is_empty() && self.channels.begin_sync()
    }

    /// What the sync asks for next; `None` if there are no members left here.
    pub(super) fn ask_for_channels(&mut self, id: &RoomId) -> Option<Catchup> {
        let asked = self.channels.ask(id, &self.subscribers)?;
        self.locks.ask(&self.subscribers);
        Some(asked)
    }

    /// Takes a page of the channels, and with the last page all held locks. `after` is where the next page begins, if there is
    /// one.
    pub(super) fn take_channels(
        &mut self,
        id: &RoomId,
        records: &[TypedRecord],
        locks: Option<&[Held]>,
        after: Option<&ChannelType>,
        now: Instant,
    ) -> Synced<S> {
        if let Some(locks) = locks {
            self.locks.take_held(id, &mut self.subscribers, locks);
        }
        self.channels.take_page(id, &mut self.subscribers, records, after, now)
    }

    /// The channels cannot be read: the sync ends, and no one here is a member any more. Answers who was.
    pub(super) fn give_up_channels(&mut self) -> Vec<S> {
        self.channels.end_sync();
        self.give_up()
    }

    /// From now on `conn` hears what becomes of a lock for which it waits by its operation `op`; `None` if it waits already.
    pub(super) fn wait_for_lock(
        &mut self,
        lock: &LockId,
        conn: &ConnId,
        op: u64,
    ) -> Option<watch::Receiver<LockUpdate>> {
        self.locks.wait(lock, conn, op)
    }

    /// Ends the updates of a lock for `conn`.
    pub(super) fn stop_waiting_for_lock(&mut self, lock: &LockId, conn: &ConnId) {
        self.locks.stop_waiting(lock, conn);
    }

    /// Updates of locks may have been missed: all waiters ask again.
    pub(super) fn invalidate_lock_waits(&self) {
        self.locks.invalidate_waits();
    }
}
