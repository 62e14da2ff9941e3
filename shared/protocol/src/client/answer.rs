//! Acknowledgements. They borrow what they say: states and values are written to the socket from where they are.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    fault::Fault,
    ids::{ChannelType, ConnId, LockName, RoomId, UserId},
};

/// One member in a snapshot.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member<'a> {
    /// The connection.
    pub conn_id: &'a ConnId,
    /// Its user.
    pub user_id: &'a UserId,
    /// Its state, as its client sent it.
    pub state: &'a RawValue,
    /// What its token says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<&'a RawValue>,
    /// When its gateway was last known to hold its lease, in milliseconds of Redis' clock.
    pub last_seen_ms: u64,
    /// Its epoch.
    pub epoch: u64,
}

/// The success answer of `presence:join`.
#[derive(Serialize)]
pub struct JoinAnswer<'a, S> {
    /// Always true.
    pub ok: bool,
    /// Everyone in the room, the joining connection included: a list of [`Member`]s.
    pub snapshot: S,
    /// The joining connection.
    #[serde(rename = "self")]
    pub own: OwnConn<'a>,
    /// The position of the join in the room's events: the next event is `seq + 1`.
    pub seq: u64,
    /// The room's generation, in microseconds: a new one means that the room started over.
    #[serde(rename = "gen")]
    pub generation: u64,
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

/// The success answer of `auth:refresh`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefreshAnswer<'a> {
    /// Always true.
    pub ok: bool,
    /// When the new token ends, in milliseconds since 1970.
    pub expires_at: u64,
    /// The room that the client was in and that the new token does not allow: it has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<&'a RoomId>,
}

/// The success answer of `metadata:*`: the channel.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelAnswer<'a, M> {
    /// Always true.
    pub ok: bool,
    /// When the channel last changed, in milliseconds of Redis' clock; 0 if it never did.
    pub timestamp: u64,
    /// The channel's name.
    pub channel_name: &'a RoomId,
    /// Its type.
    pub channel_type: &'a ChannelType,
    /// How many items it has.
    pub total_count: usize,
    /// The channel's revision; 0 if it does not exist.
    pub major_revision: u64,
    /// Its items: an object of [`ChannelItem`]s by their keys.
    pub metadata: M,
}

/// One item of a channel.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelItem<'a> {
    /// The value, as its client sent it.
    pub value: &'a RawValue,
    /// Its revision.
    pub revision: u64,
    /// When it was last written, in milliseconds of Redis' clock, if its writer wanted that recorded. Clients are sent it in
    /// the form of RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rfc_3339")]
    pub updated: Option<u64>,
    /// Who wrote it, if its writer wanted that recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author_uid: Option<&'a UserId>,
}

fn rfc_3339<S: Serializer>(ms_since_1970: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    let time = UNIX_EPOCH + Duration::from_millis(ms_since_1970.unwrap_or_default());
    serializer.collect_str(&humantime::format_rfc3339_millis(time))
}

/// The success answer of `lock:acquire` and `lock:renew`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockAnswer<'a> {
    /// Always true.
    pub ok: bool,
    /// The lock.
    pub lock_name: &'a LockName,
    /// The fencing token under which it is held.
    pub fence: u64,
    /// When it ends unless it is renewed, in milliseconds of Redis' clock.
    pub expires_at: u64,
}

/// The success answer of `lock:get`.
#[derive(Serialize)]
pub struct LocksAnswer<L> {
    /// Always true.
    pub ok: bool,
    /// The locks that are held: a list of [`ListedLock`]s.
    pub locks: L,
}

/// One lock of [`LocksAnswer`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedLock<'a> {
    /// The lock.
    pub lock_name: &'a LockName,
    /// The user of the connection that holds it.
    pub owner: &'a UserId,
    /// The connection that holds it.
    pub conn_id: &'a ConnId,
    /// The fencing token under which it is held.
    pub fence: u64,
    /// When it ends unless it is renewed, in milliseconds of Redis' clock.
    pub expires_at: u64,
}

/// The answer of a `lock:acquire` while another connection holds the lock.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldRejection<'a> {
    /// The code and the sentence.
    #[serde(flatten)]
    pub rejection: Rejection<'a>,
    /// The user of the connection that holds it.
    pub owner: &'a UserId,
    /// When it ends unless it is renewed, in milliseconds of Redis' clock.
    pub expires_at: u64,
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
pub struct Rejection<'a> {
    ok: bool,
    error: &'a str,
    code: &'static str,
}

impl<'a> From<&'a Fault> for Rejection<'a> {
    fn from(fault: &'a Fault) -> Self {
        Self { ok: false, error: &fault.message, code: fault.code.as_str() }
    }
}

/// The answer of an event over a limit.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateRejection<'a> {
    /// The code and the sentence.
    #[serde(flatten)]
    pub rejection: Rejection<'a>,
    /// When to try again, in milliseconds from now; at least 1.
    pub retry_after_ms: u64,
}

impl<'a> RateRejection<'a> {
    /// An answer that asks to try again after `wait`.
    pub fn new(fault: &'a Fault, wait: Duration) -> Self {
        let whole = wait.as_nanos().div_ceil(1_000_000).max(1);
        Self { rejection: Rejection::from(fault), retry_after_ms: u64::try_from(whole).unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Object;

    #[test]
    fn an_event_over_a_limit_is_told_when_to_try_again() {
        let fault = Fault::new(crate::fault::Code::RateLimited, "slow down");
        let answer = |wait| serde_json::to_string(&RateRejection::new(&fault, wait)).unwrap();
        let expected = r#"{"ok":false,"error":"slow down","code":"RATE_LIMITED","retryAfterMs":2}"#;
        assert_eq!(answer(Duration::from_micros(1_001)), expected);
        assert!(answer(Duration::ZERO).ends_with(r#""retryAfterMs":1}"#));
    }

    #[test]
    fn a_channel_is_an_object_of_its_items() {
        let (name, kind, author) = ("c".into(), "T".into(), "ann".into());
        let value: Box<RawValue> = serde_json::from_str(r#"{"b": 1e400}"#).unwrap();
        let item = |updated, author_uid| ChannelItem { value: &value, revision: 3, updated, author_uid };
        let items = [("k", item(None, None)), ("l", item(Some(1_700_000_000_001), Some(&author)))];
        let answer = ChannelAnswer {
            ok: true,
            timestamp: 5,
            channel_name: &name,
            channel_type: &kind,
            total_count: items.len(),
            major_revision: 7,
            metadata: Object(items.iter().map(|(key, item)| (key, item))),
        };
        let text = concat!(
            r#"{"ok":true,"timestamp":5,"channelName":"c","channelType":"T","totalCount":2,"majorRevision":7,"metadata":"#,
            r#"{"k":{"value":{"b": 1e400},"revision":3},"#,
            r#""l":{"value":{"b": 1e400},"revision":3,"updated":"2023-11-14T22:13:20.001Z","authorUid":"ann"}}}"#,
        );
        assert_eq!(serde_json::to_string(&answer).unwrap(), text);
    }
}
