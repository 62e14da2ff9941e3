//! The payloads of `presence:*`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Request,
    payload::{id, number, object, twice},
};
use crate::{Fault, state};

/// The highest epoch that a client may name, 2^53 - 1: the highest that JavaScript and Lua know exactly, and so the highest
/// that is ever answered.
pub const MAX_EPOCH: u64 = (1 << 53) - 1;
/// The highest epoch that a connection adopts because its client names it, 2^52: it can grow by one as often as anyone likes.
pub const MAX_ADOPTED_EPOCH: u64 = 1 << 52;
/// Members that one room may have.
pub const MAX_ROOM_MEMBERS: usize = 10_000;
/// Bytes that the members of one room may take in an answer: identifiers, states, and 120 for each. A little under what one
/// message of the bus may carry.
pub const MAX_ROOM_BYTES: usize = 8 * 1024 * 1024 - 64 * 1024;

#[derive(Deserialize)]
struct JoinFields<'a> {
    #[serde(borrow, rename = "roomId")]
    room: Option<&'a RawValue>,
    #[serde(borrow, rename = "userId")]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    state: Option<&'a RawValue>,
}

pub(super) fn join(payload: Option<&RawValue>) -> Result<Request, Fault> {
    let payload = object("presence:join", payload)?;
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
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    #[serde(borrow, rename = "patchState")]
    patch: Option<&'a RawValue>,
}

pub(super) fn heartbeat(payload: Option<&RawValue>) -> Result<Request, Fault> {
    if matches!(payload.map(RawValue::get), None | Some("{}" | "null")) {
        return Ok(Request::Heartbeat { epoch: None, patch: None });
    }
    let payload = object("presence:heartbeat", payload)?;
    let fields: HeartbeatFields<'_> = serde_json::from_str(payload).map_err(twice)?;
    let epoch = fields.epoch.map(|json| number("epoch", json, 0, MAX_EPOCH)).transpose()?;
    if let Some(json) = fields.patch {
        state::check("patchState", json)?;
    }
    Ok(Request::Heartbeat { epoch, patch: fields.patch.map(ToOwned::to_owned) })
}

pub(super) fn leave(payload: Option<&RawValue>) -> Result<Request, Fault> {
    match payload.map(RawValue::get) {
        None | Some("null") => Ok(Request::Leave),
        Some(text) if text.starts_with('{') => Ok(Request::Leave),
        Some(_) => Err(Fault::invalid("presence:leave takes no payload")),
    }
}

/// `{}`
pub fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}
