//! What a trace can record of an event that was rejected. "I cannot join" is a question about a user and a room, even if the
//! client sent a bad state.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::payload::id;

/// The events that clients may send.
const EVENTS: [&str; 11] = [
    "presence:join",
    "presence:heartbeat",
    "presence:leave",
    "metadata:setChannel",
    "metadata:updateChannel",
    "metadata:removeChannel",
    "metadata:getChannel",
    "lock:acquire",
    "lock:renew",
    "lock:release",
    "lock:get",
];

/// What can be read of a rejected event; identifiers only if they are valid.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RejectedEvent {
    /// Its name, if there is such an event.
    pub event: Option<&'static str>,
    /// The room of a join.
    pub room: Option<String>,
    /// The user of a join.
    pub user: Option<String>,
}

#[derive(Deserialize)]
struct Ids<'a> {
    #[serde(borrow, rename = "roomId")]
    room: Option<&'a RawValue>,
    #[serde(borrow, rename = "userId")]
    user: Option<&'a RawValue>,
}

impl RejectedEvent {
    /// Reads a Socket.IO event's arguments, the JSON array `["event", payload]`, for a second time.
    pub fn read(arguments: &str) -> Self {
        let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(arguments) else { return Self::default() };
        let name = parts.first().and_then(|name| serde_json::from_str::<String>(name.get()).ok()).unwrap_or_default();
        let event = EVENTS.into_iter().find(|event| *event == name);
        let payload = parts.get(1).filter(|_| event == Some("presence:join"));
        let Some(ids) = payload.and_then(|payload| serde_json::from_str::<Ids<'_>>(payload.get()).ok()) else {
            return Self { event, ..Self::default() };
        };
        Self { event, room: id("roomId", ids.room).ok(), user: id("userId", ids.user).ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &str) -> (Option<&'static str>, Option<String>, Option<String>) {
        let RejectedEvent { event, room, user } = RejectedEvent::read(arguments);
        (event, room, user)
    }

    #[test]
    fn a_join_tells_what_is_good_in_it() {
        let (join, room, user) = (Some("presence:join"), Some("r".to_owned()), Some("u".to_owned()));
        assert_eq!(
            read(r#"["presence:join",{"roomId":"r","userId":"u","state":[]}]"#),
            (join, room.clone(), user.clone())
        );
        assert_eq!(read(r#"["presence:join",{"roomId":"r","user":"u"}]"#), (join, room.clone(), None));
        assert_eq!(read(r#"["presence:join",{"roomId":"","userId":"u"}]"#), (join, None, user.clone()));
        assert_eq!(read(r#"["presence:join",{"roomId":"r","userId":"u"},1]"#), (join, room, user));
        assert_eq!(read(r#"["presence:join",7]"#), (join, None, None));
    }

    #[test]
    fn of_others_the_name_is_told_and_of_unknown_ones_nothing() {
        assert_eq!(read(r#"["lock:acquire",{"roomId":"r"}]"#), (Some("lock:acquire"), None, None));
        assert_eq!(read(r#"["hunter2",{"userId":"u"}]"#), (None, None, None));
        assert_eq!(read("not JSON"), (None, None, None));
    }
}
