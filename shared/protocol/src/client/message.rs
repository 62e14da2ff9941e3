//! What members of a room are sent without asking.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::ids::RoomId;

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// It is in the room now.
    Join,
    /// Its state changed, or it joined again.
    Update,
    /// It is gone.
    Leave,
}

/// Why a connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// Its client left.
    Left,
    /// Its socket closed.
    Disconnected,
    /// Its client sent nothing for a full TTL (heartbeat mode only).
    Expired,
    /// Its gateway's lease ended.
    NodeLost,
    /// Its client's new token does not allow the room.
    Forbidden,
}

/// `presence:event`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventMessage<'a> {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// In which room.
    pub room_id: &'a RoomId,
    /// To a connection of which user.
    pub user_id: &'a str,
    /// To which connection.
    pub conn_id: &'a str,
    /// The whole state after it (before it, for a leave).
    pub state: &'a RawValue,
    /// What the connection's token says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<&'a RawValue>,
    /// When, in milliseconds of Redis' clock.
    pub ts: u64,
    /// The connection's epoch.
    pub epoch: u64,
    /// The position in the room's events.
    pub seq: u64,
    /// The room's generation.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// Why, for a leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<LeaveReason>,
    /// For a join: whether it is the user's first connection in the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_joined: Option<bool>,
    /// For a leave: whether it was the user's last connection in the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_left: Option<bool>,
    /// Not an event of the room but part of a resync: `seq` is the position of the snapshot that it comes from.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resync: bool,
}

/// `auth:expiring`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpiringMessage {
    /// When the token ends, in milliseconds since 1970.
    pub expires_at: u64,
}

/// `presence:sync`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncMessage<'a, S> {
    /// Which room.
    pub room_id: &'a RoomId,
    /// Everyone in it: a list of [`Member`](super::Member)s.
    pub snapshot: S,
    /// The next event is `seq + 1`.
    pub seq: u64,
    /// The room's generation.
    #[serde(rename = "gen")]
    pub generation: u64,
}

/// What happened to a channel's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// It was replaced by the items.
    Set,
    /// The items changed.
    Update,
    /// The items are gone.
    Remove,
}

/// `metadata:event`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataMessage<'a, I> {
    /// The channel's name.
    pub channel_name: &'a RoomId,
    /// Its type.
    pub channel_type: &'a str,
    /// What happened.
    pub operation: Operation,
    /// To which items: a list of [`ChangedItem`]s.
    pub items: I,
    /// The channel's revision after it.
    pub major_revision: u64,
    /// When, in milliseconds of Redis' clock.
    pub timestamp: u64,
    /// The user of the connection that wrote, if it had joined a room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author_uid: Option<&'a str>,
    /// Not a change of the channel but the whole channel, for members that may have missed a change.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resync: bool,
}

/// One item of a [`MetadataMessage`].
#[derive(Debug, Serialize)]
pub struct ChangedItem<'a> {
    /// The key.
    pub key: &'a str,
    /// The value: the new one, or, if the item was removed, the last one.
    pub value: &'a RawValue,
    /// Its revision.
    pub revision: u64,
}

/// What happened to a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LockChange {
    /// A connection holds it now.
    Acquired,
    /// Its holder released it, left, or is gone.
    Released,
    /// Its holder did not renew it in time.
    Expired,
}

/// `lock:event`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockMessage<'a> {
    /// The channel's name.
    pub channel_name: &'a RoomId,
    /// Its type.
    pub channel_type: &'a str,
    /// The lock.
    pub lock_name: &'a str,
    /// What happened to it.
    #[serde(rename = "type")]
    pub change: LockChange,
    /// The user of the connection that holds it, or held it.
    pub owner: &'a str,
    /// The fencing token under which it is or was held.
    pub fence: u64,
    /// Not a change that just happened but how things are, for members that may have missed the change.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resync: bool,
}
