//! Acknowledgements.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use crate::{
    ChannelId, ChannelType, ConnId, Fault, LockName, RoomId, UserId,
    command::{
        self,
        lock::Held,
        metadata::{Item, Record},
    },
};

/// One member in a snapshot, as clients see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member<'a> {
    /// The connection.
    pub conn_id: &'a ConnId,
    /// Its user.
    pub user_id: &'a UserId,
    /// Its state, as its client sent it.
    pub state: &'a RawValue,
    /// When its gateway was last known to hold its lease, in milliseconds of Redis' clock.
    pub last_seen_ms: u64,
    /// Its epoch.
    pub epoch: u64,
}

impl<'a> Member<'a> {
    /// A stored member as clients see it, of a room that was read at `read_ms`.
    pub fn new(member: &'a command::Member, read_ms: u64) -> Self {
        let command::Member { conn, user, epoch, state, .. } = member;
        Self { conn_id: conn, user_id: user, state, last_seen_ms: read_ms, epoch: *epoch }
    }
}

/// The success answer of `presence:join`.
#[derive(Serialize)]
pub struct JoinAnswer<'a, S> {
    /// Always true.
    pub ok: bool,
    /// Everyone in the room, the joining connection included.
    pub snapshot: S,
    /// The joining connection.
    #[serde(rename = "self")]
    pub own: OwnConn<'a>,
    /// The position of the own join in the room's events: the next event is `seq + 1`.
    pub seq: u64,
    /// The room's birth, in microseconds: a new one means that the room began anew.
    #[serde(rename = "gen")]
    pub birth: u64,
}

/// The connection that an answer is for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnConn<'a> {
    /// The connection's id.
    pub conn_id: &'a ConnId,
    /// Its epoch.
    pub epoch: u64,
}

/// The success answer of `presence:heartbeat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HeartbeatAnswer {
    /// Always true.
    pub ok: bool,
    /// Whether the patch changed the state.
    pub changed: bool,
    /// The epoch in force.
    pub epoch: u64,
    /// The client's epoch was lower than the one in force: nothing changed, nothing was refreshed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// The record was gone and has been restored.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rejoined: bool,
}

/// The success answer of `metadata:*`: the channel.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelAnswer<'a> {
    ok: bool,
    timestamp: u64,
    channel_name: &'a RoomId,
    channel_type: &'a ChannelType,
    total_count: usize,
    major_revision: u64,
    metadata: Items<'a>,
}

impl<'a> ChannelAnswer<'a> {
    /// The channel with its record.
    pub fn new(channel: &'a ChannelId, record: &'a Record) -> Self {
        Self {
            ok: true,
            timestamp: record.timestamp,
            channel_name: &channel.name,
            channel_type: &channel.kind,
            total_count: record.items.len(),
            major_revision: record.major_revision,
            metadata: Items(&record.items),
        }
    }
}

/// Items as an object by their keys.
struct Items<'a>(&'a [Item]);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Answered<'a> {
            value: &'a RawValue,
            revision: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            updated: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            author_uid: Option<&'a UserId>,
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for item in self.0 {
            let updated = item.updated.map(iso_8601);
            let author_uid = item.author.as_ref();
            let answered = Answered { value: &item.value, revision: item.revision, updated, author_uid };
            map.serialize_entry(&item.key, &answered)?;
        }
        map.end()
    }
}

/// The success answer of `lock:acquire` and `lock:renew`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockAnswer<'a> {
    ok: bool,
    lock_name: &'a LockName,
    fence: u64,
    expires_at: u64,
}

impl<'a> From<&'a Held> for LockAnswer<'a> {
    fn from(held: &'a Held) -> Self {
        Self { ok: true, lock_name: &held.lock.name, fence: held.fence, expires_at: held.expires_at_ms }
    }
}

/// The success answer of `lock:get`.
#[derive(Serialize)]
pub struct LocksAnswer<'a> {
    ok: bool,
    locks: Vec<ListedLock<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedLock<'a> {
    lock_name: &'a LockName,
    owner: &'a UserId,
    conn_id: &'a ConnId,
    fence: u64,
    expires_at: u64,
}

impl<'a> From<&'a [Held]> for LocksAnswer<'a> {
    fn from(locks: &'a [Held]) -> Self {
        let listed = locks.iter().map(|held| ListedLock {
            lock_name: &held.lock.name,
            owner: &held.owner,
            conn_id: &held.conn,
            fence: held.fence,
            expires_at: held.expires_at_ms,
        });
        Self { ok: true, locks: listed.collect() }
    }
}

/// The answer of a `lock:acquire` while somebody else holds the lock.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldRefusal<'a> {
    #[serde(flatten)]
    refusal: Refusal<'a>,
    owner: &'a UserId,
    expires_at: u64,
}

impl<'a> HeldRefusal<'a> {
    /// A refusal that tells who holds the lock.
    pub fn new(fault: &'a Fault, holder: &'a Held) -> Self {
        Self { refusal: fault.into(), owner: &holder.owner, expires_at: holder.expires_at_ms }
    }
}

fn iso_8601(ms_since_1970: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms_since_1970)).to_string()
}

/// `{ok: true}`
#[derive(Serialize)]
pub struct Done {
    ok: bool,
}

/// The answer that says only that it worked.
pub const DONE: Done = Done { ok: true };

/// An unsuccessful answer.
#[derive(Serialize)]
pub struct Refusal<'a> {
    ok: bool,
    error: &'a str,
    code: &'static str,
}

impl<'a> From<&'a Fault> for Refusal<'a> {
    fn from(fault: &'a Fault) -> Self {
        Self { ok: false, error: &fault.message, code: fault.code.as_str() }
    }
}
