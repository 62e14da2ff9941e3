//! The identifiers that cross service borders, each a type of its own so that a user is never taken for a room.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{fault::Fault, limits::MAX_ID_BYTES};

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
    /// One connection: a random id of its session. It is not the Engine.IO session id, which is a secret.
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

/// A channel: metadata and locks next to the members of the room that has its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChannelId {
    /// The name, which is that of a room, whether anyone is in it or not.
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

/// One of the [`Partition::COUNT`] groups that rooms are spread over by a hash of their name. Everything that Redis holds of
/// a partition shares one hash slot, so that one script can work on many rooms of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(u16);

impl Partition {
    /// How many there are. A constant: with another number every room would lie somewhere else.
    pub const COUNT: u16 = 1_024;

    /// All of them.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Its number, below [`COUNT`](Self::COUNT).
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl RoomId {
    /// The partition that the room lies in: FNV-1a, mixed, so that every build agrees.
    pub fn partition(&self) -> Partition {
        let hash =
            self.0.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let mixed = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        Partition(((mixed ^ (mixed >> 13)) % u32::from(Partition::COUNT)) as u16)
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
    fn rooms_spread_over_the_partitions() {
        let mut counts = vec![0; usize::from(Partition::COUNT)];
        for n in 0..102_400 {
            counts[RoomId::from(format!("room-{n}")).partition().index()] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
        // Where a room lies never changes from one build to the next.
        assert_eq!(RoomId::from("lobby").partition().to_string(), "p261");
    }

    #[test]
    fn what_cannot_name_anything_is_refused_by_field() {
        for name in ["", "a\nb", "\u{7f}", "\u{85}", &"x".repeat(257), &"日".repeat(86)] {
            let fault = check_id("roomId", name).unwrap_err();
            assert!(fault.message.contains("roomId"), "{fault:?}");
        }
    }
}
