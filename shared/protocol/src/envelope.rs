//! The one message that services send each other: a header, and the items that travel together. Items stay text until they
//! are read, so that an item of a newer version does not make the others unreadable.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{
    Deserialize, Deserializer as _, Serialize,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::ids::InstanceId;

/// The version that this build writes and the only one that it reads.
pub const VERSION: u32 = 2;

/// What an envelope carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Items are [`crate::command::Command`]s that want a reply.
    Request,
    /// Items are [`crate::command::Outcome`]s.
    Reply,
    /// Checks that an inbox still receives: the sender's own, or that of an instance whose reply is pending. No items.
    Probe,
}

impl Kind {
    /// What a message carries, if it is an envelope. Reads no further than that.
    pub fn of(message: &[u8]) -> Option<Self> {
        let mut kind = None;
        // An error, even when the kind was found: it ends the reading.
        let _ = serde_json::Deserializer::from_slice(message).deserialize_map(Find(&mut kind));
        kind
    }
}

/// Finds the kind among the fields of an envelope.
struct Find<'a>(&'a mut Option<Kind>);

impl<'de> Visitor<'de> for Find<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<&str>()? {
            if name == "kind" {
                *self.0 = Some(fields.next_value()?);
                return Err(A::Error::custom("found"));
            }
            fields.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// A message of the bus.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope<'a> {
    /// See [`VERSION`].
    pub version: u32,
    /// Unique among the sender's messages.
    pub id: u64,
    /// What the items are.
    pub kind: Kind,
    /// Who sent it.
    pub sender: InstanceId,
    /// The channel for the replies.
    pub reply_to: String,
    /// What travels together.
    #[serde(borrow)]
    pub items: Vec<Item<'a>>,
}

/// One request or one reply.
#[derive(Debug, Serialize, Deserialize)]
pub struct Item<'a> {
    /// The requests that it is or answers; 0 stands for a request of another instance (a shared answer keeps its slots).
    pub ids: Vec<u64>,
    /// Of a request: when its caller stops waiting, in milliseconds since 1970 by the hosts' clocks. After that it is not carried
    /// out. A reply has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// W3C trace context of the sender's span, with the flag that says whether it is sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// W3C trace state, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// The command or outcome.
    #[serde(borrow)]
    pub body: &'a RawValue,
}

/// Why an envelope was not read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Not an envelope.
    Malformed,
    /// Written by a version that this build does not know.
    Version(u32),
}

impl<'a> Envelope<'a> {
    /// Reads a message; fields that this build does not know are ignored.
    ///
    /// # Errors
    /// [`Unreadable`]: the message is dropped, with a log line.
    pub fn read(text: &'a str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Header {
            version: u32,
        }
        match serde_json::from_str::<Self>(text) {
            Ok(envelope) if envelope.version == VERSION => Ok(envelope),
            Ok(envelope) => Err(Unreadable::Version(envelope.version)),
            Err(_) => match serde_json::from_str::<Header>(text) {
                Ok(Header { version }) if version != VERSION => Err(Unreadable::Version(version)),
                _ => Err(Unreadable::Malformed),
            },
        }
    }

    /// Writes a message.
    ///
    /// # Errors
    /// Never for an envelope of this crate's types; the serializer's signature requires it.
    pub fn write(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// This machine's clock in milliseconds since 1970. Only deadlines between services use it; everything that is stored
/// uses the clock of Redis.
pub fn wall_clock_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WRITTEN: &str = r#"{"version":2,"id":7,"kind":"request","sender":"a-1","reply_to":"c","items":[{"ids":[1],"deadline_ms":5,"body":{"x":1e400}}]}"#;

    #[test]
    fn what_is_written_is_read() {
        let envelope = Envelope::read(WRITTEN).unwrap();
        assert_eq!(envelope.items[0].body.get(), r#"{"x":1e400}"#);
        assert_eq!(envelope.write().unwrap(), WRITTEN);
    }

    #[test]
    fn the_kind_is_found_without_reading_the_items() {
        assert_eq!(Kind::of(WRITTEN.as_bytes()), Some(Kind::Request));
        assert_eq!(Kind::of(&WRITTEN.as_bytes()[..40]), Some(Kind::Request), "what follows is not looked at");
        assert_eq!(Kind::of(br#"{"items":[{"body":{"kind":"request"}}],"kind":"reply"}"#), Some(Kind::Reply));
        for text in ["", "{}", "[1]", r#"{"kind":7}"#, r#"{"items":{"kind":"reply"}}"#] {
            assert_eq!(Kind::of(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_newer_field_is_passed_over_and_a_newer_version_refused() {
        let more = WRITTEN.replace(r#""id":7"#, r#""id":7,"later":[{}]"#);
        assert!(Envelope::read(&more).is_ok());
        let newer = WRITTEN.replace(r#""version":2"#, r#""version":3"#);
        assert_eq!(Envelope::read(&newer).unwrap_err(), Unreadable::Version(3));
        let other_shape = r#"{"version":4,"parts":[]}"#;
        assert_eq!(Envelope::read(other_shape).unwrap_err(), Unreadable::Version(4));
        assert_eq!(Envelope::read("{}").unwrap_err(), Unreadable::Malformed);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*") {
            let _ = Envelope::read(&text);
        }
    }
}
