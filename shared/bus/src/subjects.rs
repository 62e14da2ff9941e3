//! The names of channels and of the directory's keys.

use protocol::{InstanceId, RoomId};

use crate::Role;

/// Where an instance hears requests, replies and its own probe.
pub fn inbox(instance: &InstanceId) -> String {
    format!("prs:inbox:{instance}")
}

/// Where a room's events are published; in the hash slot of the room's keys, so that scripts can.
pub fn room_events(room: &RoomId) -> String {
    format!("prs:{{room:{}}}:events", room.tag())
}

/// The room whose events come on `channel`.
pub fn room_of(channel: &str) -> Option<RoomId> {
    let name = channel.strip_prefix("prs:{room:")?.strip_suffix("}:events")?;
    Some(RoomId::from_tag(name))
}

/// The directory of one role. All roles share a hash slot.
pub fn directory(role: Role) -> String {
    format!("prs:{{directory}}:{}", role.service())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_room_is_found_by_its_channel(name in "[%a-z{}:7D25日]{1,20}") {
            let room = RoomId::from(name.as_str());
            let channel = room_events(&room);
            prop_assert_eq!(channel.matches('}').count(), 1);
            prop_assert_eq!(room_of(&channel), Some(room));
        }
    }
}
