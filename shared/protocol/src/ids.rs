//! The identifiers that cross service borders, each a type of its own so that a user is never taken for a room.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Fault;

/// The longest identifier that a client may send, in bytes.
pub const MAX_ID_BYTES: usize = 256;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
            /// The identifier as text that can be kept without copying it.
            pub fn shared(&self) -> &Arc<str> {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

id! {
    /// A presence room, named by the application.
    RoomId
}
id! {
    /// A user, named by the application; may hold several connections.
    UserId
}
id! {
    /// One connection: the Socket.IO socket id.
    ConnId
}
id! {
    /// One process of one service, `<service>-<8 hex digits>`, new at each start.
    InstanceId
}
id! {
    /// What kind of channel, named by the application: channels of one name and different types share nothing.
    ChannelType
}
id! {
    /// A key of a channel's metadata.
    ItemKey
}
id! {
    /// A lock of a channel.
    LockName
}

/// A channel: metadata and locks beside the members of the room that has its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChannelId {
    /// The name, which is that of a room, whether somebody is in it or not.
    pub name: RoomId,
    /// The type.
    #[serde(rename = "type")]
    pub kind: ChannelType,
}

/// A lock and its channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LockId {
    /// The channel.
    pub channel: ChannelId,
    /// The lock's own name.
    pub name: LockName,
}

impl RoomId {
    /// The name as it stands between the braces of a Redis key: a `}` in it would end the hash tag early and set the
    /// room's keys apart on a cluster.
    pub fn tag(&self) -> String {
        self.0.replace('%', "%25").replace('}', "%7D")
    }

    /// The room of a [`tag`](Self::tag).
    pub fn from_tag(tag: &str) -> Self {
        Self::from(tag.replace("%7D", "}").replace("%25", "%"))
    }
}

/// Refuses what may not name anything: the empty text, more than [`MAX_ID_BYTES`], control characters. Keys and events
/// rely on the last (a newline separates their parts).
///
/// # Errors
/// `INVALID_PAYLOAD` that names `field`.
pub fn check_id(field: &str, text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::invalid(format!("{field} must not be empty")));
    }
    if text.len() > MAX_ID_BYTES {
        return Err(Fault::invalid(format!("{field} must be at most {MAX_ID_BYTES} bytes long")));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::invalid(format!("{field} must not contain control characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn awkward_names_are_names() {
        for name in ["a{b}", "日本", "../x", " ", &"x".repeat(256)] {
            assert_eq!(check_id("roomId", name), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_cannot_name_anything_is_refused_by_field() {
        for name in ["", "a\nb", "\u{7f}", "\u{85}", &"x".repeat(257), &"日".repeat(86)] {
            let fault = check_id("roomId", name).unwrap_err();
            assert!(fault.message.contains("roomId"), "{fault:?}");
        }
    }
}
