//! What members are shown of a connection, as records have it: its info, or nothing, and on the next line its state.

use rollcall_protocol::Info;
use serde_json::value::RawValue;

/// The text, in parts.
pub(super) fn parts<'a>(info: Option<&'a Info>, state: &'a RawValue) -> [&'a str; 3] {
    [info.map_or("", Info::as_str), "\n", state.get()]
}

/// Parses the text. The state may have line breaks.
pub(super) fn read(text: &str) -> Option<(Option<Info>, Box<RawValue>)> {
    let (info, state) = text.split_once('\n')?;
    let json = |text: &str| RawValue::from_string(text.to_owned()).ok();
    let info = if info.is_empty() { None } else { Some(Info::from_line(json(info)?)?) };
    Some((info, json(state)?))
}
