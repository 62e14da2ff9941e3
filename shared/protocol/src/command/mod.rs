//! Requests of gateway and reaper to presence-state, and their outcomes. Every command may be repeated without harm: it names
//! the connection's operation (`op`), and the record remembers the last one that it took.
//!
//! - `presence`, `metadata`, `lock`: the requests and outcomes of each.

pub mod lock;
pub mod metadata;
mod presence;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::presence::{
    Audit, Heartbeat, Join, JoinResult, Joined, JoinedOne, Leave, Member, Reap, Restore, Restored, Snapshot,
    SnapshotQuery, Strays,
};
use self::{
    lock::{Held, Lock, Locked},
    metadata::{Metadata, Record, Rejection, TypedRecord},
};
use crate::{
    fault::Fault,
    ids::{ChannelType, Partition, RoomId},
    info::Info,
};

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
    /// Bring one gateway's records of a room to what that gateway knows.
    Restore(Restore),
    /// Compare a partition's counts with what a gateway has there.
    Audit(Audit),
    /// List the members of a room.
    Snapshot(SnapshotQuery),
    /// Evict the connections of gateways that are gone from a partition, and end the locks that are due there.
    Reap(Reap),
    /// Read or change a channel's metadata.
    Metadata(Metadata),
    /// Take, hold or release locks.
    Lock(Lock),
    /// List what members of a room may have missed in the channels of its name.
    Catchup(Catchup),
}

impl Command {
    /// The room that the command is about, for a channel the room of its name; `None` if it is about a whole partition.
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

    /// Its subject and its verb, as in span names (`presence.join`).
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

/// See [`Command::Catchup`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Catchup {
    /// The room.
    pub room: RoomId,
    /// Which records members know, by type, and at which `majorRevision`. A record that is gone starts over empty, and one
    /// whose last changes Redis lost is renewed, so that its revisions continue.
    pub known: Vec<(ChannelType, u64)>,
    /// List all records, whatever members know.
    pub all: bool,
    /// The records of types after this one are wanted; from the first one on if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ChannelType>,
}

/// The outcome of a command.
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
    /// The gateway's copy was older than the record. It merges again, into this record.
    Conflict {
        /// The stored epoch.
        epoch: u64,
        /// The operation of the stored state.
        op: u64,
        /// The stored info.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        info: Option<Info>,
        /// The stored state.
        state: Box<RawValue>,
    },
    /// The record is gone.
    Missing,
    /// The leave was carried out, now or earlier.
    Left,
    /// The room's records are what the gateway knows.
    Restored {
        /// How many records were written.
        written: u64,
        /// How many records without a connection were removed.
        removed: u64,
    },
    /// The partition was compared.
    Audited {
        /// Rooms in which the gateway has a different number of records than it reported.
        differing: Vec<RoomId>,
        /// How many records in other rooms were removed.
        removed: u64,
    },
    /// The members of the room. A room that does not exist has `gen` 0.
    Snapshot(Snapshot),
    /// The room stands at the position that the request named.
    Unchanged,
    /// The partition was cleaned.
    Reaped {
        /// Connections of gone gateways that were evicted.
        evicted: u64,
        /// How many rooms this changed.
        rooms: u64,
        /// Whether there is more to do.
        more: bool,
    },
    /// A channel's record, after the write if it was one.
    Record(Record),
    /// A write that did not happen.
    Rejected(Rejection),
    /// The outcome of a request about locks.
    Lock(Locked),
    /// What members may have missed.
    Catchup {
        /// The records that differ from what the request named, by type; as many as fit into a message of about 1 MiB.
        records: Vec<TypedRecord>,
        /// The locks that are held, of all channels of the name. Only in the last answer.
        locks: Vec<Held>,
        /// There are more records, after this type.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<ChannelType>,
    },
    /// Refused.
    Fault(Fault),
}
