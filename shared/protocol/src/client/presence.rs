//! The payloads of `presence:*`.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Request,
    payload::{fields, id, number},
};
use crate::{fault::Fault, limits::MAX_SAFE_INTEGER, state};

#[derive(Deserialize)]
struct JoinFields<'a> {
    #[serde(borrow, rename = "roomId")]
    room: Option<&'a RawValue>,
    #[serde(borrow, rename = "userId")]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    state: Option<&'a RawValue>,
}

pub(super) fn join(payload: Option<&str>) -> Result<Request, Fault> {
    let fields: JoinFields<'_> = fields("presence:join", payload)?;
    let room = id("roomId", fields.room)?;
    let user = fields.user.map(|json| id("userId", Some(json))).transpose()?;
    let state = match fields.state {
        Some(json) => {
            state::check("state", json)?;
            json.to_owned()
        }
        None => empty_object(),
    };
    Ok(Request::Join { room: room.into(), user: user.map(Into::into), state })
}

#[derive(Deserialize)]
struct HeartbeatFields<'a> {
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    #[serde(borrow, rename = "patchState")]
    patch: Option<&'a RawValue>,
}

pub(super) fn heartbeat(payload: Option<&str>) -> Result<Request, Fault> {
    if matches!(payload, None | Some("{}" | "null")) {
        return Ok(Request::Heartbeat { epoch: None, patch: None });
    }
    let fields: HeartbeatFields<'_> = fields("presence:heartbeat", payload)?;
    let epoch = fields.epoch.map(|json| number("epoch", json, 0, MAX_SAFE_INTEGER)).transpose()?;
    // An empty patch changes nothing: the heartbeat is a plain one, which the gateway answers by itself.
    let patch = fields.patch.filter(|json| json.get() != "{}");
    if let Some(json) = patch {
        state::check("patchState", json)?;
    }
    Ok(Request::Heartbeat { epoch, patch: patch.map(ToOwned::to_owned) })
}

pub(super) fn leave(payload: Option<&str>) -> Result<Request, Fault> {
    match payload {
        None | Some("null") => Ok(Request::Leave),
        Some(text) if text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok() => Ok(Request::Leave),
        Some(_) => Err(Fault::invalid("presence:leave takes no payload")),
    }
}

/// `{}`
pub fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}
