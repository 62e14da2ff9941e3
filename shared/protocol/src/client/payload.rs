//! What the fields of every payload have in common.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{ChannelId, Fault, ids::check_id};

/// A payload, which has to be an object.
pub(super) fn object<'a>(event: &str, payload: Option<&'a RawValue>) -> Result<&'a str, Fault> {
    match payload.map(RawValue::get) {
        Some(text) if text.starts_with('{') => Ok(text),
        _ => Err(Fault::invalid(format!("the payload of {event} must be an object"))),
    }
}

/// The fields of a payload, which has to be an object.
pub(super) fn fields<'a, T: Deserialize<'a>>(event: &str, payload: Option<&'a RawValue>) -> Result<T, Fault> {
    serde_json::from_str(object(event, payload)?).map_err(twice)
}

/// The channel that `channelName` and `channelType` name.
pub(super) fn channel(name: Option<&RawValue>, kind: Option<&RawValue>) -> Result<ChannelId, Fault> {
    let (name, kind) = (id("channelName", name)?, id("channelType", kind)?);
    Ok(ChannelId { name: name.into(), kind: kind.into() })
}

/// A field that is there, be it `null`: for these fields `null` is a wrong type, not an absence.
pub(super) fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Serde's only complaint about an object whose fields are all raw.
pub(super) fn twice(_: serde_json::Error) -> Fault {
    Fault::invalid("the payload names a field twice")
}

/// An identifier.
pub(super) fn id(field: &str, value: Option<&RawValue>) -> Result<String, Fault> {
    let value = value.ok_or_else(|| Fault::invalid(format!("{field} is missing")))?;
    let text: String =
        serde_json::from_str(value.get()).map_err(|_| Fault::invalid(format!("{field} must be a string")))?;
    check_id(field, &text)?;
    Ok(text)
}

/// A field that is a flag, false where it is missing.
pub(super) fn flag(field: &str, value: Option<&RawValue>) -> Result<bool, Fault> {
    match value.map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Fault::invalid(format!("{field} must be true or false"))),
    }
}

/// A field that is a whole number within bounds.
pub(super) fn number(field: &str, value: &RawValue, least: u64, most: u64) -> Result<u64, Fault> {
    value
        .get()
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| Fault::invalid(format!("{field} must be a whole number from {least} to {most}")))
}
