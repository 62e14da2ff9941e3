//! The protocol of clients: what a Socket.IO event asks for, what its acknowledgement answers, what members are sent.
//! Every check of a payload stands here, so that a bad one is refused before anything else sees it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{ConnId, Fault, RoomId, UserId, ids::check_id, state};

/// The highest epoch that a client may name, 2^52: adding one stays exact in JavaScript and Lua.
pub const MAX_EPOCH: u64 = 1 << 52;

/// One event of a client, checked.
#[derive(Debug)]
pub enum Request {
    /// `presence:join`
    Join {
        /// The room to be in.
        room: RoomId,
        /// Who joins.
        user: UserId,
        /// The connection's state; `{}` where the client sent none.
        state: Box<RawValue>,
    },
    /// `presence:heartbeat`
    Heartbeat {
        /// The epoch that the client believes in; none means the current one.
        epoch: Option<u64>,
        /// What to merge over the state.
        patch: Option<Box<RawValue>>,
    },
    /// `presence:leave`
    Leave,
}

/// Reads a Socket.IO event from its arguments, the JSON array `["event", payload]`.
///
/// # Errors
/// `INVALID_PAYLOAD` or `TOO_LARGE`, naming the field.
pub fn parse(arguments: &str) -> Result<Request, Fault> {
    let (event, payload) = split(arguments)?;
    match event.as_str() {
        "presence:heartbeat" => heartbeat(object("presence:heartbeat", payload)?),
        "presence:join" => join(object("presence:join", payload)?),
        "presence:leave" => leave(payload),
        _ => Err(Fault::invalid("there is no such event")),
    }
}

fn split(arguments: &str) -> Result<(String, Option<&RawValue>), Fault> {
    let malformed = |_| Fault::invalid("the event is not valid JSON");
    // The common shapes first: a tuple borrows its payload and allocates no list.
    if let Ok((event, payload)) = serde_json::from_str::<(String, &RawValue)>(arguments) {
        return Ok((event, Some(payload)));
    }
    let parts: Vec<&RawValue> = serde_json::from_str(arguments).map_err(malformed)?;
    let event = parts.first().map(|name| name.get()).unwrap_or_default();
    let event = serde_json::from_str(event).map_err(malformed)?;
    match parts.len() {
        1 => Ok((event, None)),
        _ => Err(Fault::invalid("an event takes one payload; there were more arguments")),
    }
}

fn object<'a>(event: &str, payload: Option<&'a RawValue>) -> Result<&'a str, Fault> {
    match payload.map(RawValue::get) {
        Some(text) if text.starts_with('{') => Ok(text),
        _ => Err(Fault::invalid(format!("the payload of {event} must be an object"))),
    }
}

fn leave(payload: Option<&RawValue>) -> Result<Request, Fault> {
    match payload.map(RawValue::get) {
        None | Some("null") => Ok(Request::Leave),
        Some(text) if text.starts_with('{') => Ok(Request::Leave),
        Some(_) => Err(Fault::invalid("presence:leave takes no payload")),
    }
}

#[derive(Deserialize)]
struct JoinFields<'a> {
    #[serde(borrow, rename = "roomId")]
    room: Option<&'a RawValue>,
    #[serde(borrow, rename = "userId")]
    user: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    state: Option<&'a RawValue>,
}

fn join(payload: &str) -> Result<Request, Fault> {
    let fields: JoinFields<'_> = serde_json::from_str(payload).map_err(twice)?;
    let room = id("roomId", fields.room)?;
    let user = id("userId", fields.user)?;
    let state = match fields.state {
        Some(json) => {
            state::check("state", json)?;
            json.to_owned()
        }
        None => empty_object(),
    };
    Ok(Request::Join { room: room.into(), user: user.into(), state })
}

#[derive(Deserialize)]
struct HeartbeatFields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    epoch: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", rename = "patchState")]
    patch: Option<&'a RawValue>,
}

fn heartbeat(payload: &str) -> Result<Request, Fault> {
    if payload == "{}" {
        return Ok(Request::Heartbeat { epoch: None, patch: None });
    }
    let fields: HeartbeatFields<'_> = serde_json::from_str(payload).map_err(twice)?;
    let epoch = fields.epoch.map(epoch).transpose()?;
    if let Some(json) = fields.patch {
        state::check("patchState", json)?;
    }
    Ok(Request::Heartbeat { epoch, patch: fields.patch.map(ToOwned::to_owned) })
}

/// A field that is there, be it `null`: for these fields `null` is a wrong type, not an absence.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn twice(_: serde_json::Error) -> Fault {
    Fault::invalid("the payload names a field twice")
}

fn id(field: &str, value: Option<&RawValue>) -> Result<String, Fault> {
    let value = value.ok_or_else(|| Fault::invalid(format!("{field} is missing")))?;
    let text: String =
        serde_json::from_str(value.get()).map_err(|_| Fault::invalid(format!("{field} must be a string")))?;
    check_id(field, &text)?;
    Ok(text)
}

fn epoch(value: &RawValue) -> Result<u64, Fault> {
    value
        .get()
        .parse()
        .ok()
        .filter(|epoch| *epoch <= MAX_EPOCH)
        .ok_or_else(|| Fault::invalid(format!("epoch must be a whole number from 0 to {MAX_EPOCH}")))
}

/// `{}`
pub fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use proptest::prelude::*;

    fn refused(arguments: &str, word: &str) {
        let fault = parse(arguments).unwrap_err();
        assert!(fault.message.contains(word), "{arguments}: {fault}");
    }

    #[test]
    fn a_join_keeps_its_state_to_the_letter() {
        let json =
            r#"["presence:join",{"roomId":"日本","userId":"u","extra":1,"state":{"b": 1e400, "a":9007199254740993}}]"#;
        let Ok(Request::Join { room, state, .. }) = parse(json) else { panic!("refused") };
        assert_eq!(room.as_str(), "日本");
        assert_eq!(state.get(), r#"{"b": 1e400, "a":9007199254740993}"#);
    }

    #[test]
    fn bad_payloads_are_refused_by_field() {
        refused(r#"["presence:join"]"#, "payload");
        refused(r#"["presence:join",null]"#, "payload");
        refused(r#"["presence:join",[]]"#, "payload");
        refused(r#"["presence:join",{"userId":"u"}]"#, "roomId");
        refused(r#"["presence:join",{"roomId":7,"userId":"u"}]"#, "roomId");
        refused(r#"["presence:join",{"roomId":"r","userId":null}]"#, "userId");
        refused(r#"["presence:join",{"roomId":"r","userId":"u","state":[]}]"#, "state");
        refused(r#"["presence:join",{"roomId":"r","userId":"u","state":null}]"#, "state");
        refused(r#"["presence:join",{"roomId":"r","userId":"u"},1]"#, "arguments");
        refused(r#"["presence:heartbeat",{"epoch":-1}]"#, "epoch");
        refused(r#"["presence:heartbeat",{"epoch":1.5}]"#, "epoch");
        refused(r#"["presence:heartbeat",{"epoch":null}]"#, "epoch");
        refused(r#"["presence:heartbeat",{"epoch":"1"}]"#, "epoch");
        refused(r#"["presence:heartbeat",{"patchState":null}]"#, "patchState");
        refused(r#"["presence:heartbeat",{"patchState":NaN}]"#, "JSON");
        refused(r#"["presence:nothing",{}]"#, "event");
        refused(r#"["presence:leave",7]"#, "payload");
    }

    #[test]
    fn heartbeats_and_leaves() {
        for plain in [r#"["presence:heartbeat",{}]"#, r#"["presence:heartbeat",{ }]"#] {
            assert!(matches!(parse(plain), Ok(Request::Heartbeat { epoch: None, patch: None })));
        }
        let highest = format!(r#"["presence:heartbeat",{{"epoch":{MAX_EPOCH}}}]"#);
        assert!(matches!(parse(&highest), Ok(Request::Heartbeat { epoch: Some(MAX_EPOCH), .. })));
        for leave in [r#"["presence:leave"]"#, r#"["presence:leave",null]"#, r#"["presence:leave",{}]"#] {
            assert!(matches!(parse(leave), Ok(Request::Leave)), "{leave}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*") {
            let _ = parse(&text);
            let _ = parse(&format!(r#"["presence:join",{text}]"#));
            let _ = parse(&format!(r#"["presence:heartbeat",{{"patchState":{text}}}]"#));
        }

        #[test]
        fn a_refusal_is_the_clients_fault(text in "[\\[\\]{}\",:a-z0-9]*") {
            if let Err(fault) = parse(&text) {
                prop_assert!(matches!(fault.code, Code::InvalidPayload | Code::TooLarge));
            }
        }
    }
}
