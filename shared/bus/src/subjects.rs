//! The names of channels and of the directory's keys. All begin with `REDIS_KEY_PREFIX`, so that several systems can share a
//! Redis.

use std::sync::Arc;

use rollcall_protocol::{InstanceId, Partition, RoomId};

/// See the module.
#[derive(Debug, Clone)]
pub struct Subjects {
    prefix: Arc<str>,
    inboxes: Arc<str>,
}

impl Subjects {
    /// Names that begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into(), inboxes: format!("{prefix}:inbox:").into() }
    }

    /// What all keys and channels begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where an instance receives requests, replies and its own probes.
    pub fn inbox(&self, instance: &InstanceId) -> String {
        format!("{}{instance}", self.inboxes)
    }

    /// Whether `channel` is an inbox.
    pub(crate) fn is_inbox(&self, channel: &str) -> bool {
        channel.starts_with(&*self.inboxes)
    }

    /// What all keys and channels of a partition begin with; the part in braces is their hash tag.
    pub fn partition(&self, partition: Partition) -> String {
        format!("{}:{{{partition}}}", self.prefix)
    }

    /// Where a room's events are published; in the hash slot of its partition, so that scripts can.
    pub fn room_events(&self, room: &RoomId) -> String {
        format!("{}:events:{room}", self.partition(room.partition()))
    }

    /// The room whose events come on `channel`.
    pub fn room_of(&self, channel: &str) -> Option<RoomId> {
        let rest = channel.strip_prefix(&*self.prefix)?.strip_prefix(":{p")?;
        Some(RoomId::from(rest.split_once("}:events:")?.1))
    }

    /// The leases of all instances.
    pub(crate) fn leases(&self) -> String {
        format!("{}:{{directory}}:leases", self.prefix)
    }

    /// The number of the last change of the list of instances.
    pub(crate) fn changes(&self) -> String {
        format!("{}:{{directory}}:changes", self.prefix)
    }

    /// The revoked tokens: their moments, and their order.
    pub(crate) fn revocations(&self) -> [String; 2] {
        [format!("{}:{{directory}}:revoked", self.prefix), format!("{}:{{directory}}:revocations", self.prefix)]
    }

    /// The last changes of that list.
    pub(crate) fn change_log(&self) -> String {
        format!("{}:{{directory}}:log", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_room_is_found_by_its_channel(name in "[%a-z{}:7D25日]{1,20}", prefix in "[a-z:]{1,8}") {
            let subjects = Subjects::new(&prefix);
            let room = RoomId::from(name.as_str());
            let channel = subjects.room_events(&room);
            prop_assert_eq!(subjects.room_of(&channel), Some(room));
            let start = format!("{prefix}:{{p");
            prop_assert!(channel.starts_with(&start));
        }
    }
}
