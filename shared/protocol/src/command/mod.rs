//! What gateway and reaper ask of presence-state, and what it answers. Every command may be repeated without harm: it
//! names the connection's operation (`op`), and the record remembers the last one that it took.
//!
//! Presence stands here, `metadata` and `lock` beside it.

pub mod lock;
pub mod metadata;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::{
    lock::{Held, Lock, Locked},
    metadata::{Metadata, Record, Rejected, TypedRecord},
};
use crate::{ChannelType, ConnId, Fault, InstanceId, RoomId, UserId, client::Member, event::Reason};

/// A request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Put a connection into a room, or put it back.
    Join(Join),
    /// Change a connection's state or epoch, or just hear of it on the full way.
    Heartbeat(Heartbeat),
    /// Take a connection out of its room.
    Leave(Leave),
    /// Say who was alive.
    Touch(Touch),
    /// Tell who is in a room.
    Snapshot(SnapshotQuery),
    /// Evict what has outlived its TTL in a room.
    Reap(Reap),
    /// Evict the connections of a lost gateway from a room.
    EvictNode(EvictNode),
    /// See or change a channel's metadata.
    Metadata(Metadata),
    /// Take, hold or let go of locks.
    Lock(Lock),
    /// Tell what members of a room may have missed of the channels of its name.
    Catchup(Catchup),
}

impl Command {
    /// The room whose order the command keeps, for a channel that of its name; a touch is of many and keeps none.
    pub fn room(&self) -> Option<&RoomId> {
        match self {
            Command::Join(c) => Some(&c.room),
            Command::Heartbeat(c) => Some(&c.room),
            Command::Leave(c) => Some(&c.room),
            Command::Snapshot(c) => Some(&c.room),
            Command::Reap(c) => Some(&c.room),
            Command::EvictNode(c) => Some(&c.room),
            Command::Metadata(c) => Some(&c.channel.name),
            Command::Lock(c) => Some(c.room()),
            Command::Catchup(c) => Some(&c.room),
            Command::Touch(_) => None,
        }
    }

    /// What it is about and its verb, as they stand in span names (`presence.join`).
    pub fn name(&self) -> (&'static str, &'static str) {
        match self {
            Command::Join(_) => ("presence", "join"),
            Command::Heartbeat(_) => ("presence", "heartbeat"),
            Command::Leave(_) => ("presence", "leave"),
            Command::Touch(_) => ("presence", "touch"),
            Command::Snapshot(_) => ("presence", "snapshot"),
            Command::Reap(_) | Command::EvictNode(_) => ("presence", "reap"),
            Command::Metadata(c) => ("metadata", c.act.verb()),
            Command::Lock(c) => ("lock", c.verb()),
            Command::Catchup(_) => ("metadata", "catchup"),
        }
    }
}

/// See [`Command::Join`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Join {
    /// The room.
    pub room: RoomId,
    /// Whose connection it is.
    pub user: UserId,
    /// The connection.
    pub conn: ConnId,
    /// The gateway that holds it.
    pub node: InstanceId,
    /// The connection's operation, counted by its gateway.
    pub op: u64,
    /// The highest epoch that the gateway has seen for this connection, 0 for none: an epoch never goes back, also
    /// when Redis forgot it.
    pub known_epoch: u64,
    /// Put back a record that is gone, with its epoch, instead of beginning a new one.
    pub restore: bool,
    /// The connection's state.
    pub state: Box<RawValue>,
}

/// See [`Command::Heartbeat`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The room.
    pub room: RoomId,
    /// The connection.
    pub conn: ConnId,
    /// The gateway that holds it.
    pub node: InstanceId,
    /// The connection's operation.
    pub op: u64,
    /// The operation that the gateway's copy of the state stems from.
    pub base_op: u64,
    /// The client's epoch; none means the current one.
    pub epoch: Option<u64>,
    /// The whole state after the patch; none leaves it as it is.
    pub state: Option<Box<RawValue>>,
}

/// See [`Command::Leave`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Leave {
    /// The room.
    pub room: RoomId,
    /// The connection.
    pub conn: ConnId,
    /// The gateway that held it.
    pub node: InstanceId,
    /// The connection's operation.
    pub op: u64,
    /// `left` or `disconnected`.
    pub reason: Reason,
    /// The gateway has no other socket in the room.
    pub last_of_node: bool,
}

/// See [`Command::Touch`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Touch {
    /// The gateway that heard them.
    pub node: InstanceId,
    /// Who was alive, room by room.
    pub rooms: Vec<RoomTouch>,
}

/// The connections of one room that were alive.
#[derive(Debug, Serialize, Deserialize)]
pub struct RoomTouch {
    /// The room.
    pub room: RoomId,
    /// Each connection with the age of its last heartbeat in milliseconds.
    pub alive: Vec<(ConnId, u64)>,
}

/// See [`Command::Snapshot`].
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotQuery {
    /// The room.
    pub room: RoomId,
    /// Answer [`Outcome::Unchanged`] if the room still stands at this `(gen, seq)`.
    pub known: Option<(u64, u64)>,
}

/// See [`Command::Reap`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Reap {
    /// The room.
    pub room: RoomId,
}

/// See [`Command::EvictNode`].
#[derive(Debug, Serialize, Deserialize)]
pub struct EvictNode {
    /// The room.
    pub room: RoomId,
    /// The lost gateway.
    pub node: InstanceId,
    /// When its lease ended, in milliseconds of Redis' clock; who was heard of later is spared.
    pub lease_end_ms: u64,
}

/// See [`Command::Catchup`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Catchup {
    /// The room.
    pub room: RoomId,
    /// Which records members know, by type, at which `majorRevision`. One that is gone is born anew, empty, so that its
    /// revisions go on.
    pub known: Vec<(ChannelType, u64)>,
}

/// What became of a command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Several joins of a room, answered together.
    Joined(Joined),
    /// The heartbeat was taken.
    Beat {
        /// Whether the state changed.
        changed: bool,
        /// The epoch in force.
        epoch: u64,
        /// The operation that the record now stands at.
        op: u64,
    },
    /// The client's epoch is lower than the stored one, which this is.
    Stale {
        /// The stored epoch.
        epoch: u64,
    },
    /// The gateway's copy was not the record's: here is the record, merge again.
    Conflict {
        /// The stored epoch.
        epoch: u64,
        /// The operation of the stored state.
        op: u64,
        /// The stored state.
        state: Box<RawValue>,
    },
    /// The record is gone.
    Missing,
    /// The leave happened, now or before.
    Left,
    /// Touched; these connections have no record.
    Touched {
        /// Whose records are gone.
        missing: Vec<ConnId>,
    },
    /// Who is in the room. A room that does not exist has `gen` 0.
    Snapshot(Snapshot),
    /// The room stands where the asker knows it.
    Unchanged,
    /// So many connections were evicted.
    Evicted {
        /// How many.
        count: u64,
        /// How many of the room remain.
        remaining: u64,
    },
    /// A channel's record, after the write if it was one.
    Record(Record),
    /// A write that did not happen.
    Rejected(Rejected),
    /// What became of something asked of locks.
    Lock(Locked),
    /// What members may not know.
    Catchup {
        /// The records that are not as the asker knows them.
        records: Vec<TypedRecord>,
        /// The locks that are held, of all channels of the name.
        locks: Vec<Held>,
    },
    /// Refused.
    Fault(Fault),
}

/// A room at one moment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The room's birth, 0 when there is no such room.
    #[serde(rename = "gen")]
    pub birth: u64,
    /// Its last event.
    pub seq: u64,
    /// Everyone in it who is not evicted.
    pub members: Vec<Member>,
}

/// Joins of one room that were made together. The room as the n-th of them saw it is `before` and the first n `joins`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Joined {
    /// The room's birth.
    #[serde(rename = "gen")]
    pub birth: u64,
    /// Who was there before them; what had outlived its TTL was evicted.
    pub before: Vec<Member>,
    /// Who joined, in order; each stands where its request's id stands in the reply.
    pub joins: Vec<JoinedOne>,
}

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct JoinedOne {
    /// The position of the join in the room's events.
    pub seq: u64,
    /// The epoch in force; 0 when a later operation of the connection overtook this one.
    pub epoch: u64,
    /// The operation that the record stands at.
    pub op: u64,
    /// The new member; none where `before` already has it (a repeated request, or a record that was not gone).
    pub member: Option<Member>,
}

impl Joined {
    /// The room as the join at `index` saw it.
    pub fn seen_by(&self, index: usize) -> impl Iterator<Item = &Member> + Clone {
        let joins = self.joins.iter().take(index + 1);
        self.before.iter().chain(joins.filter_map(|join| join.member.as_ref()))
    }
}
