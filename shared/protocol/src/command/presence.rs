//! Presence: members of rooms, one by one and by gateway.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    event::Reason,
    ids::{ConnId, InstanceId, Partition, RoomId, UserId},
    info::Info,
    position::Position,
};

/// See [`Command::Join`](super::Command::Join).
#[derive(Debug, Serialize, Deserialize)]
pub struct Join {
    /// The room.
    pub room: RoomId,
    /// The user of the connection.
    pub user: UserId,
    /// The connection.
    pub conn: ConnId,
    /// The gateway that holds it.
    pub gateway: InstanceId,
    /// The connection's operation, counted by its gateway.
    pub op: u64,
    /// The highest epoch that the gateway has seen for this connection, 0 for none: an epoch never goes back, even if
    /// Redis lost it.
    pub known_epoch: u64,
    /// What its token says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Info>,
    /// The connection's state.
    pub state: Box<RawValue>,
}

/// See [`Command::Heartbeat`](super::Command::Heartbeat).
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
    /// The client's epoch; `None` means the current one.
    pub epoch: Option<u64>,
    /// What its token says about it. It goes with `state`: together they replace what the record has, so that a record which
    /// was rolled back gets back its info, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Info>,
    /// The whole state after the patch; `None` leaves state and info as they are.
    pub state: Option<Box<RawValue>>,
}

/// See [`Command::Leave`](super::Command::Leave).
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

/// See [`Command::Restore`](super::Command::Restore). A record that is missing, or older than the gateway's copy, is written. One that
/// equals the copy stays untouched, and so does one with a higher operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Restore {
    /// The room.
    pub room: RoomId,
    /// The gateway that sends this.
    pub gateway: InstanceId,
    /// Its connections in the room; [`Restore::MOST`] at most in one command.
    pub members: Vec<Restored>,
    /// Which other records of the gateway no longer have a connection, and are removed.
    pub strays: Option<Strays>,
}

/// Records that a [`Restore`] removes: all of the gateway's in the room but those of `members` and of `stay`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Strays {
    /// Only records older than this are removed, in milliseconds of Redis' clock: a join of a younger one may be under way.
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
    /// Its user.
    pub user: UserId,
    /// The operation that its state stems from.
    pub op: u64,
    /// Its epoch.
    pub epoch: u64,
    /// What its token says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Info>,
    /// Its state.
    pub state: Box<RawValue>,
}

/// See [`Command::Audit`](super::Command::Audit).
#[derive(Debug, Serialize, Deserialize)]
pub struct Audit {
    /// The partition.
    pub partition: Partition,
    /// The gateway that sends this.
    pub gateway: InstanceId,
    /// Every room of the partition in which the gateway has connections, and how many of them are members. Its records in other
    /// rooms are removed.
    pub rooms: Vec<(RoomId, u64)>,
    /// Records younger than this stay, in milliseconds of Redis' clock: their join may be under way.
    pub strays_before_ms: u64,
}

/// See [`Command::Snapshot`](super::Command::Snapshot).
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotQuery {
    /// The room.
    pub room: RoomId,
    /// Answer [`Outcome::Unchanged`](super::Outcome::Unchanged) if the room still stands here.
    pub known: Option<Position>,
}

/// See [`Command::Reap`](super::Command::Reap). presence-state checks again whether the gateways are gone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reap {
    /// The partition.
    pub partition: Partition,
    /// Gateways that have records there but no lease, as far as the reaper knows.
    pub gone: Vec<InstanceId>,
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
    /// What its token says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Info>,
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
    /// Its members.
    pub members: Vec<Member>,
}

/// Joins of one room that were carried out together. The n-th of them saw `before` and the first n `joins`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Joined {
    /// The room's generation.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// When the gateways of its members were last known to hold their leases, in milliseconds of Redis' clock.
    pub seen_ms: u64,
    /// The members before them, without those of gateways that are gone.
    pub before: Vec<Member>,
    /// The joins, in the order of their requests' ids in the reply.
    pub joins: Vec<JoinedOne>,
}

/// One join of [`Joined`].
#[derive(Debug, Serialize, Deserialize)]
pub struct JoinedOne {
    /// The position of the join in the room's events.
    pub seq: u64,
    /// The token of that position.
    pub token: u64,
    /// Its outcome.
    pub result: JoinResult,
    /// The new member; `None` if `before` already has it (a repeated request), or if the join was not carried out.
    pub member: Option<Member>,
}

/// The outcome of a join.
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
    /// A later operation of the connection was carried out first.
    Overtaken,
    /// The room is at [`MAX_ROOM_MEMBERS`](crate::limits::MAX_ROOM_MEMBERS) or [`MAX_ROOM_BYTES`](crate::limits::MAX_ROOM_BYTES).
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
        Position { generation: self.generation, seq, token }
    }
}
