//! Acknowledgements.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{ConnId, Fault, UserId};

/// One member in a snapshot, as clients see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The connection.
    pub conn_id: ConnId,
    /// Its user.
    pub user_id: UserId,
    /// Its state, as its client sent it.
    pub state: Box<RawValue>,
    /// When it was last heard of, in milliseconds of Redis' clock.
    pub last_seen_ms: u64,
    /// Its epoch.
    pub epoch: u64,
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
    /// The socket id.
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
