//! What members of a room are sent.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    RoomId,
    event::{
        lock::Change,
        metadata::{EventItem, Operation},
    },
};

/// `presence:event`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventMessage<'a> {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: crate::event::Kind,
    /// Where.
    pub room_id: &'a RoomId,
    /// To whom.
    pub user_id: &'a str,
    /// On which connection.
    pub conn_id: &'a str,
    /// The whole state after it (before it, for a leave).
    pub state: &'a RawValue,
    /// When, in milliseconds of Redis' clock.
    pub ts: u64,
    /// The connection's epoch.
    pub epoch: u64,
    /// The position in the room's events.
    pub seq: u64,
    /// The room's birth.
    #[serde(rename = "gen")]
    pub birth: u64,
    /// Why, for a leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<crate::event::Reason>,
    /// For a join: whether it is the user's first connection in the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_joined: Option<bool>,
    /// For a leave: whether it was the user's last connection in the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_left: Option<bool>,
    /// Not an event of the room but the repair of a gap: `seq` is where the repair stands.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resync: bool,
}

/// `presence:sync`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncMessage<'a, S> {
    /// Which room.
    pub room_id: &'a RoomId,
    /// Everyone in it.
    pub snapshot: S,
    /// The next event is `seq + 1`.
    pub seq: u64,
    /// The room's birth.
    #[serde(rename = "gen")]
    pub birth: u64,
}

/// `metadata:event`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataMessage<'a> {
    /// The channel's name.
    pub channel_name: &'a RoomId,
    /// Its type.
    pub channel_type: &'a str,
    /// What happened.
    pub operation: Operation,
    /// To which items.
    pub items: &'a [EventItem<'a>],
    /// The channel's revision since.
    pub major_revision: u64,
    /// When, in milliseconds of Redis' clock.
    pub timestamp: u64,
    /// The user of the connection that wrote, if it had joined a room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author_uid: Option<&'a str>,
    /// Not a change of the channel but the whole of it, for who may have missed one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resync: bool,
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
    pub change: Change,
    /// The user of the connection that holds it, or held it.
    pub owner: &'a str,
    /// Under which fence.
    pub fence: u64,
    /// Not as it happened but as it is, for who may have missed it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resync: bool,
}
