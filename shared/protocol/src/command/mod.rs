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
use crate::{ChannelType, ConnId, Fault, InstanceId, Partition, Position, RoomId, UserId, event::Reason};

/// A request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Put a connection into a room.
    Join(Join),
    /// Change a connection's state or epoch.
    Heartbeat(Heartbeat),
    /// Remove a connection from its room.
    Leave(Leave),
    /// Make a room's records of one gateway what that gateway says they are.
    Restore(Restore),
    /// Compare a partition's counts with what a gateway has there.
    Audit(Audit),
    /// List the members of a room.
    Snapshot(SnapshotQuery),
    /// Evict the connections of gateways that are gone from a partition, and end what is due there.
    Reap(Reap),
    /// See or change a channel's metadata.
    Metadata(Metadata),
    /// Take, hold or release locks.
    Lock(Lock),
    /// List what members of a room may have missed of the channels of its name.
    Catchup(Catchup),
}

impl Command {
    /// The room that the command is about, for a channel that of its name; none if it is about a whole partition.
    pub fn room(&self) -> Option<&RoomId> {
        match self {
            Command::Join(c) => Some(&c.room),
            Command::Heartbeat(c) => Some(&c.room),
            Command::Leave(c) => Some(&c.room),
            Command::Restore(c) => Some(&c.room),
            Command::Snapshot(c) => Some(&c.room),
            Command::Metadata(c) => Some(&c.channel.name),
            Command::Lock(c) => Some(c.room()),
            Command::Catchup(c) => Some(&c.room),
            Command::Audit(_) | Command::Reap(_) => None,
        }
    }

    /// The partition that it works on, which decides the instance that is asked.
    pub fn partition(&self) -> Partition {
        match self {
            Command::Audit(c) => c.partition,
            Command::Reap(c) => c.partition,
            _ => self.room().map_or_else(|| RoomId::from("").partition(), RoomId::partition),
        }
    }

    /// What it is about and its verb, as they stand in span names (`presence.join`).
    pub fn name(&self) -> (&'static str, &'static str) {
        match self {
            Command::Join(_) => ("presence", "join"),
            Command::Heartbeat(_) => ("presence", "heartbeat"),
            Command::Leave(_) => ("presence", "leave"),
            Command::Restore(_) => ("presence", "restore"),
            Command::Audit(_) => ("presence", "audit"),
            Command::Snapshot(_) => ("presence", "snapshot"),
            Command::Reap(_) => ("presence", "reap"),
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
    pub gateway: InstanceId,
    /// The connection's operation, counted by its gateway.
    pub op: u64,
    /// The highest epoch that the gateway has seen for this connection, 0 for none: an epoch never goes back, even if
    /// Redis forgot it.
    pub known_epoch: u64,
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
    /// The connection's operation.
    pub op: u64,
    /// The operation that the gateway's copy of the state stems from. A stored record that is older than this copy was
    /// rolled back, and is overwritten.
    pub base_op: u64,
    /// The highest epoch that the gateway has seen for this connection.
    pub known_epoch: u64,
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
    /// The connection's operation.
    pub op: u64,
    /// `left`, `disconnected` or `expired`.
    pub reason: Reason,
}

/// See [`Command::Restore`]. A record that is missing, or older than what the gateway says, is written; one that stands where
/// the gateway says it does stays untouched, and so does one with a higher operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Restore {
    /// The room.
    pub room: RoomId,
    /// The gateway that speaks.
    pub gateway: InstanceId,
    /// Its connections in the room; [`Restore::MOST`] at most in one command.
    pub members: Vec<Restored>,
    /// Which other records of the gateway have no connection any more, and are removed.
    pub strays: Option<Strays>,
}

/// Records that a [`Restore`] removes: all of the gateway's in the room but those of `members` and of `stay`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Strays {
    /// Only records that are older than this, in milliseconds of Redis' clock: the join of others may be under way.
    pub before_ms: u64,
    /// Connections that the gateway has in the room besides `members`.
    pub stay: Vec<ConnId>,
}

impl Restore {
    /// Members of one command.
    pub const MOST: usize = 128;
}

/// One connection of a [`Restore`], as its gateway knows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Restored {
    /// The connection.
    pub conn: ConnId,
    /// Whose it is.
    pub user: UserId,
    /// The operation that its state stems from.
    pub op: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Its state.
    pub state: Box<RawValue>,
}

/// See [`Command::Audit`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Audit {
    /// The partition.
    pub partition: Partition,
    /// The gateway that speaks.
    pub gateway: InstanceId,
    /// Every room of the partition that it has to do with, and how many of its connections are members there. Its records
    /// in other rooms are removed.
    pub rooms: Vec<(RoomId, u64)>,
    /// Records that are younger than this, in milliseconds of Redis' clock, stay: their join may be under way.
    pub strays_before_ms: u64,
}

/// See [`Command::Snapshot`].
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotQuery {
    /// The room.
    pub room: RoomId,
    /// Answer [`Outcome::Unchanged`] if the room still stands here.
    pub known: Option<Position>,
}

/// See [`Command::Reap`]. presence-state checks again whether the gateways are gone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reap {
    /// The partition.
    pub partition: Partition,
    /// Gateways that have records there and no lease, as the reaper found.
    pub gone: Vec<InstanceId>,
}

/// See [`Command::Catchup`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Catchup {
    /// The room.
    pub room: RoomId,
    /// Which records members know, by type, at which `majorRevision`. One that is gone begins again, empty, and one whose
    /// last changes Redis lost is renewed, so that its revisions go on.
    pub known: Vec<(ChannelType, u64)>,
    /// All records are wanted, whatever members know.
    pub all: bool,
}

/// What became of a command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Several joins of a room, answered together.
    Joined(Joined),
    /// The heartbeat was carried out.
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
    /// The gateway's copy was older than the record: here is the record, merge again.
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
    /// The room's records are what the gateway said.
    Restored {
        /// How many records were written.
        written: u64,
        /// How many records without a connection were removed.
        removed: u64,
    },
    /// The partition was compared.
    Audited {
        /// Rooms in which the gateway has another number of records than it said.
        differing: Vec<RoomId>,
        /// How many records in other rooms were removed.
        removed: u64,
    },
    /// Who is in the room. A room that does not exist has `gen` 0.
    Snapshot(Snapshot),
    /// The room stands where the asker knows it.
    Unchanged,
    /// The partition was cleaned.
    Reaped {
        /// Connections of gone gateways that were evicted.
        evicted: u64,
        /// Rooms that this changed.
        rooms: u64,
        /// Whether there is more to do.
        more: bool,
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

/// A member of a room, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    /// The connection.
    pub conn: ConnId,
    /// Its user.
    pub user: UserId,
    /// Its epoch.
    pub epoch: u64,
    /// Its operation that the record stands at.
    pub op: u64,
    /// Its state, as its client sent it.
    pub state: Box<RawValue>,
}

/// A room at one moment. Members of gateways that are gone are not in it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Where the room stands.
    pub at: Position,
    /// When the gateways of its members were last known to hold their leases, in milliseconds of Redis' clock.
    pub seen_ms: u64,
    /// Everyone in it.
    pub members: Vec<Member>,
}

/// Joins of one room that were made together. The room as the n-th of them saw it is `before` and the first n `joins`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Joined {
    /// The room's generation.
    #[serde(rename = "gen")]
    pub birth: u64,
    /// When the gateways of its members were last known to hold their leases, in milliseconds of Redis' clock.
    pub seen_ms: u64,
    /// Who was there before them, without members of gateways that are gone.
    pub before: Vec<Member>,
    /// Who joined, in order; each stands where its request's id stands in the reply.
    pub joins: Vec<JoinedOne>,
}

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct JoinedOne {
    /// The position of the join in the room's events.
    pub seq: u64,
    /// The token of that position.
    pub token: u64,
    /// What became of it.
    pub result: JoinResult,
    /// The new member; none where `before` already has it (a repeated request), or where there is none.
    pub member: Option<Member>,
}

/// What became of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinResult {
    /// The connection is in the room.
    Member {
        /// Its epoch.
        epoch: u64,
        /// The operation that its record stands at.
        op: u64,
    },
    /// A later operation of the connection was there first.
    Overtaken,
    /// The room has as many members, or as many bytes of states, as it may have.
    Full,
}

impl Joined {
    /// The room as the join at `index` saw it.
    pub fn seen_by(&self, index: usize) -> impl Iterator<Item = &Member> + Clone {
        let joins = self.joins.iter().take(index + 1);
        self.before.iter().chain(joins.filter_map(|join| join.member.as_ref()))
    }

    /// Where the room stood after the join at `index`.
    pub fn position(&self, index: usize) -> Position {
        let JoinedOne { seq, token, .. } = self.joins[index];
        Position { birth: self.birth, seq, token }
    }
}
