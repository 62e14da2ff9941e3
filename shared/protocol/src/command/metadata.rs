//! Metadata of channels: requests and their outcomes. A write may be repeated without harm: it names its connection's
//! operation, and the channel remembers the last one of each connection for a while.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::ids::{ChannelId, ChannelType, ConnId, ItemKey, LockName, UserId};

/// A request about a channel's metadata.
#[derive(Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// The channel.
    pub channel: ChannelId,
    /// What to do.
    pub act: Act,
}

/// What to do with a channel's metadata.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Replace the whole record.
    Set(Change),
    /// Change items that exist.
    Update(Change),
    /// Remove items.
    Remove(Change),
    /// Remove all items; the change names none.
    Clear(Change),
    /// Give a record whose last changes Redis lost a revision above every revision that anyone knows.
    Renew(Change),
    /// Read the record.
    Get,
}

impl Act {
    /// The verb, as it stands in span names (`metadata.<verb>`).
    pub fn verb(&self) -> &'static str {
        match self {
            Act::Set(_) => "set",
            Act::Update(_) => "update",
            Act::Remove(_) | Act::Clear(_) => "remove",
            Act::Renew(_) => "renew",
            Act::Get => "get",
        }
    }

    /// The write, if it is one.
    pub fn change(&self) -> Option<&Change> {
        match self {
            Act::Set(change) | Act::Update(change) | Act::Remove(change) | Act::Clear(change) | Act::Renew(change) => {
                Some(change)
            }
            Act::Get => None,
        }
    }
}

/// A write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    /// The connection that writes.
    pub conn: ConnId,
    /// The connection's operation, counted by its gateway.
    pub op: u64,
    /// The connection's user, if it has joined a room.
    pub author: Option<UserId>,
    /// The items.
    pub items: Vec<ItemChange>,
    /// The conditions, and what is recorded.
    pub options: WriteOptions,
}

/// One item of a write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ItemChange {
    /// The key.
    pub key: ItemKey,
    /// The value, which may be `null`. `None` leaves the value as it is; in a new item it is the empty string.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub value: Option<Box<RawValue>>,
    /// For `set` the revision that the item is given, 1 if there is none; else the one that it must have.
    pub revision: Option<u64>,
}

/// A value that is present, even if it is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// The conditions of a write, and what is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOptions {
    /// The `majorRevision` that the channel must have; 0 is that of a channel that does not exist.
    pub major_revision: Option<u64>,
    /// The lock that the writer must hold.
    pub lock: Option<LockName>,
    /// The fencing token under which it must hold the lock.
    pub fence: Option<u64>,
    /// Record when the items were written.
    pub add_timestamp: bool,
    /// Record who wrote them.
    pub add_user_id: bool,
}

/// A record, at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Grows by one with each change. It starts from Redis' clock in microseconds, so that it never repeats after the channel
    /// expired or was lost. 0 if there is no record.
    pub major_revision: u64,
    /// When it last changed, in milliseconds of Redis' clock; 0 when it never did.
    pub timestamp: u64,
    /// Its items.
    pub items: Vec<Item>,
}

impl Record {
    /// How large its keys and values are, in bytes.
    pub fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.key.as_str().len() + item.value.get().len()).sum()
    }
}

/// One item of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Item {
    /// The key.
    pub key: ItemKey,
    /// The value, as its client sent it.
    pub value: Box<RawValue>,
    /// Its revision.
    pub revision: u64,
    /// When it was last written, in milliseconds of Redis' clock, if its writer wanted that recorded.
    pub updated: Option<u64>,
    /// Who wrote it, if its writer wanted that recorded.
    pub author: Option<UserId>,
}

/// Why a write did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// A revision is not the expected one.
    Conflict {
        /// The item; `None` for the channel's `majorRevision`.
        key: Option<ItemKey>,
        /// What the writer expected.
        expected: u64,
        /// What it is.
        actual: u64,
    },
    /// There is no such item, or, without a key, no such channel.
    Absent {
        /// The item.
        key: Option<ItemKey>,
    },
    /// The channel would be over [`MAX_CHANNEL_BYTES`](crate::limits::MAX_CHANNEL_BYTES).
    TooLarge,
    /// The channel's name has [`MAX_CHANNEL_TYPES`](crate::limits::MAX_CHANNEL_TYPES) types already.
    TooManyTypes,
    /// The writer does not hold the lock, or not under that fencing token.
    Lock,
    /// A later operation of the connection was carried out first.
    Overtaken,
}

/// A channel type's record, for members that may have missed a change of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct TypedRecord {
    /// The type.
    pub kind: ChannelType,
    /// The record.
    pub record: Record,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_a_value_and_not_the_lack_of_one() {
        for (text, value) in
            [(r#"{"key":"k","value":null,"revision":null}"#, Some("null")), (r#"{"key":"k","revision":null}"#, None)]
        {
            let item: ItemChange = serde_json::from_str(text).unwrap();
            assert_eq!(item.value.as_deref().map(RawValue::get), value);
            assert_eq!(serde_json::to_string(&item).unwrap(), text);
        }
    }
}
