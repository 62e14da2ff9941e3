//! The events of a room, as scripts publish them together with the change that they report. Scripts format no JSON: an event is
//! lines of text, with the client's state last. Info and state are opaque.
//!
//! ```text
//! 3 <gen> <seq> <token> <token of the event before it, 0 for none> <ts> <epoch> <op> <type> <reason or -> <user flag 0|1>
//! <traceparent or nothing>
//! <connId>
//! <userId>
//! <info: JSON, or nothing>
//! <state: JSON, to the end>
//! ```
//!
//! `gen`, `seq` and the token are the room's [`Position`] after the event.
//!
//! This is an event of presence. `metadata` and `lock` have the events of the channels of the room's name, which are published on
//! the same channel of Redis.

pub mod lock;
pub mod metadata;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::position::Position;

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is in the room now.
    Join,
    /// Its state changed, or it joined again.
    Update,
    /// It is gone.
    Leave,
    /// Its record was restored: a join for members that did not know it. Clients never see this kind.
    Restore,
}

impl Kind {
    /// What clients call it: a record that was restored is a join.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Join | Kind::Restore => "join",
            Kind::Update => "update",
            Kind::Leave => "leave",
        }
    }
}

/// Why a connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its client left.
    Left,
    /// Its socket closed.
    Disconnected,
    /// Its client sent nothing for a full TTL (heartbeat mode only).
    Expired,
    /// Its gateway's lease ended.
    NodeLost,
    /// Its client's new token does not allow the room.
    Forbidden,
}

impl Reason {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Left => "left",
            Reason::Disconnected => "disconnected",
            Reason::Expired => "expired",
            Reason::NodeLost => "node_lost",
            Reason::Forbidden => "forbidden",
        }
    }

    fn read(text: &str) -> Option<Self> {
        [Reason::Left, Reason::Disconnected, Reason::Expired, Reason::NodeLost, Reason::Forbidden]
            .into_iter()
            .find(|reason| reason.as_str() == text)
    }
}

impl Kind {
    fn read(text: &str) -> Option<Self> {
        match text {
            "join" => Some(Kind::Join),
            "update" => Some(Kind::Update),
            "leave" => Some(Kind::Leave),
            "restore" => Some(Kind::Restore),
            _ => None,
        }
    }
}

/// One event of a room, as published.
#[derive(Debug)]
pub struct RoomEvent<'a> {
    /// The room's position after it.
    pub at: Position,
    /// The token of the event before it; 0 for the first one of a generation.
    pub previous_token: u64,
    /// When, in milliseconds of Redis' clock.
    pub ts: u64,
    /// The connection's epoch.
    pub epoch: u64,
    /// The connection's operation that its record stands at.
    pub op: u64,
    /// What happened.
    pub kind: Kind,
    /// Why, for a leave.
    pub reason: Option<Reason>,
    /// For a join: the user's first connection; for a leave: the last.
    pub user_edge: bool,
    /// The trace that the change belongs to.
    pub traceparent: Option<&'a str>,
    /// The connection.
    pub conn: &'a str,
    /// Its user.
    pub user: &'a str,
    /// What its token says about it.
    pub info: Option<&'a RawValue>,
    /// Its whole state after the event (before it, for a leave).
    pub state: &'a RawValue,
}

impl<'a> RoomEvent<'a> {
    /// Reads a published event; `None` if it is malformed or of a version that this build does not know.
    pub fn read(text: &'a str) -> Option<Self> {
        let mut lines = text.splitn(6, '\n');
        let mut head = lines.next()?.split(' ');
        if head.next()? != "3" {
            return None;
        }
        let mut number = || head.next()?.parse().ok();
        let at = Position { generation: number()?, seq: number()?, token: number()? };
        let (previous_token, ts, epoch, op) = (number()?, number()?, number()?, number()?);
        let kind = Kind::read(head.next()?)?;
        let reason = Reason::read(head.next()?);
        let user_edge = head.next()? == "1";
        let traceparent = Some(lines.next()?).filter(|text| !text.is_empty());
        let (conn, user) = (lines.next()?, lines.next()?);
        let info = match lines.next()? {
            "" => None,
            info => Some(serde_json::from_str(info).ok()?),
        };
        let state = serde_json::from_str(lines.next()?).ok()?;
        Some(Self { at, previous_token, ts, epoch, op, kind, reason, user_edge, traceparent, conn, user, info, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_published_event_is_read() {
        let text = "3 1700000000000000 3 1700000000001002 1700000000000001 1700000000001 9 4 leave node_lost 1\n\nconn\nuser name\n\n{\"a\":\n1e400}";
        let event = RoomEvent::read(text).unwrap();
        assert_eq!(event.at, Position { generation: 1_700_000_000_000_000, seq: 3, token: 1_700_000_000_001_002 });
        assert_eq!((event.previous_token, event.epoch, event.op), (1_700_000_000_000_001, 9, 4));
        assert_eq!((event.kind, event.reason), (Kind::Leave, Some(Reason::NodeLost)));
        assert_eq!((event.user, event.user_edge, event.traceparent), ("user name", true, None));
        assert_eq!((event.info.map(RawValue::get), event.state.get()), (None, "{\"a\":\n1e400}"));
        let text = text.replace("user name\n", "user name\n{\"name\":\"Ann\"}");
        let event = RoomEvent::read(&text).unwrap();
        assert_eq!(event.info.map(RawValue::get), Some("{\"name\":\"Ann\"}"));
        assert_eq!(event.state.get(), "{\"a\":\n1e400}");
    }

    #[test]
    fn what_is_no_event_is_none() {
        let head = "1 1 1 0 1 1 1 join - 1\n\nc\nu";
        assert!(RoomEvent::read(&format!("3 {head}\n\n{{}}")).is_some());
        for (start, end) in [("2 ", "\n\n{}"), ("3 x ", "\n\n{}"), ("3 ", ""), ("3 ", "\n{}"), ("3 ", "\n{\n{}")] {
            assert!(RoomEvent::read(&format!("{start}{head}{end}")).is_none(), "{start} {end}");
        }
        assert!(RoomEvent::read("").is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(?s).*") {
            let _ = RoomEvent::read(&text);
            let _ = RoomEvent::read(&format!("3 {text}"));
        }
    }
}
