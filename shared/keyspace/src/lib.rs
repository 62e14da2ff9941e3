//! The names of the presence keys. Only presence-state, which writes them, and the reaper, which reads them, may depend on this
//! crate.
//!
//! Every key of a partition begins with the same `base`, such as `prs:{p17}` (`rollcall_bus::Subjects::partition`), and so shares a hash
//! slot: one script reads and changes all of them at once. The scripts build the same names from the base.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `<base>:room:<room>` | hash | `head` → generation, sequence number, token, bytes, users, history; `g:<gateway>` and `u:<user>` → their connections; `scan` → how far an eviction came |
//! | `<base>:members:<room>` | hash | connId → record: epoch, operation, gateway, user, state |
//! | `<base>:locks:<room>` | hash | channelType and lockName → holder, for the channels of that name |
//! | `<base>:waiters:<room>` | sorted set | waiter → place in line |
//! | `<base>:revisions:<room>` | hash | channelType → `majorRevision`, when it changed, in which history; '' → the last fence |
//! | `<base>:meta:<bytes of the type>:<type>:<room>` | hash | key → item of one channel |
//! | `<base>:done:<conn>:<room>` | string | a connection's last write to those channels, for 30 s |
//! | `<base>:rooms` | set | rooms that have members |
//! | `<base>:rooms:<gateway>` | set | rooms in which a gateway has members, locks or waiters |
//! | `<base>:gateways` | set | gateways that have such rooms |
//! | `<base>:due` | sorted set | room → when the first of its locks or waiters ends, ms |
//!
//! A gateway is written as its code: its instance name without the service's name.

use rollcall_protocol::{ChannelId, ConnId, InstanceId, RoomId};

const GATEWAY_PREFIX: &str = "presence-gateway-";

/// The code of a gateway in keys and records: the eight hex digits of its name. Short, because every record holds it.
pub fn gateway_code(gateway: &InstanceId) -> &str {
    gateway.as_str().strip_prefix(GATEWAY_PREFIX).filter(|code| is_code(code)).unwrap_or(gateway.as_str())
}

/// The gateway of a [code](gateway_code).
pub fn gateway_of(code: &str) -> InstanceId {
    if is_code(code) { format!("{GATEWAY_PREFIX}{code}").into() } else { code.into() }
}

fn is_code(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A room's position, sizes and counts.
pub fn room(base: &str, room: &RoomId) -> String {
    format!("{base}:room:{room}")
}

/// The records of a room.
pub fn members(base: &str, room: &RoomId) -> String {
    format!("{base}:members:{room}")
}

/// The locks of the channels that have a room's name.
pub fn locks(base: &str, room: &RoomId) -> String {
    format!("{base}:locks:{room}")
}

/// The waiters of those locks.
pub fn waiters(base: &str, room: &RoomId) -> String {
    format!("{base}:waiters:{room}")
}

/// The revisions of the channels that have a room's name.
pub fn revisions(base: &str, room: &RoomId) -> String {
    format!("{base}:revisions:{room}")
}

/// The items of a channel. The length marks the end of the type: both type and name may contain colons.
pub fn meta(base: &str, channel: &ChannelId) -> String {
    format!("{base}:meta:{}:{}:{}", channel.kind.as_str().len(), channel.kind, channel.name)
}

/// The last write of a connection to the channels of a name.
pub fn done(base: &str, room: &RoomId, conn: &ConnId) -> String {
    format!("{base}:done:{conn}:{room}")
}

/// The rooms of a partition that have members.
pub fn rooms(base: &str) -> String {
    format!("{base}:rooms")
}

/// The rooms of a partition in which a gateway has members, locks or waiters.
pub fn rooms_of(base: &str, gateway: &InstanceId) -> String {
    format!("{base}:rooms:{}", gateway_code(gateway))
}

/// The codes of the gateways that have such rooms.
pub fn gateways(base: &str) -> String {
    format!("{base}:gateways")
}

/// When the first lock or waiter of each room ends.
pub fn due(base: &str) -> String {
    format!("{base}:due")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_found_by_its_code() {
        assert_eq!(gateway_code(&"presence-gateway-1a2b3c4d".into()), "1a2b3c4d");
        assert_eq!(gateway_of("1a2b3c4d"), "presence-gateway-1a2b3c4d".into());
        for other in ["other", "n", "presence-gateway-node"] {
            assert_eq!(gateway_of(other), other.into());
        }
    }

    #[test]
    fn channels_of_awkward_names_share_nothing() {
        let key = |name: &str, kind: &str| meta("b", &ChannelId { name: name.into(), kind: kind.into() });
        assert_ne!(key("a:b", "c"), key("b", "c:a"));
        assert_ne!(key("1:x:y", "z"), key("y", "z:1:x"));
    }
}
