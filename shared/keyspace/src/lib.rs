//! The names of the keys that presence lives in. Only presence-state, which writes them, and the reaper, which reads
//! them, may know this crate.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `prs:{room:<tag>}:conns` | hash | connId → record (see [`RoomKeys::conns`]) |
//! | `prs:{room:<tag>}:last_seen` | sorted set | connId → when it was last heard of, ms |
//! | `prs:{room:<tag>}:users` | hash | userId → number of its connections |
//! | `prs:{room:<tag>}:info` | hash | `gen`, `seq` |
//! | `prs:{room:<tag>}:revisions` | hash | channelType → `majorRevision` and when it changed, of the channels of that name; '' → the last fence |
//! | `prs:{room:<tag>}:meta:<type>` | hash | key → item of one channel |
//! | `prs:{room:<tag>}:locks` | hash | channelType and lockName → who holds it, of the channels of that name |
//! | `prs:{room:<tag>}:waiters` | sorted set | who waits for them → place in line |
//! | `prs:{room:<tag>}:done:<conn>` | string | a connection's last write to those channels, for a while |
//! | `prs:due:<shard>` | sorted set | room → when one of its connections can be stale, ms |
//! | `prs:node:<gateway>:rooms` | set | the rooms in which a gateway has connections |
//!
//! All of a room's share a hash slot with its event channel, so that one script sees them all. The last two lie elsewhere; they are written after the script, best-effort, and repaired by touches and the reaper.

use protocol::{ChannelId, ConnId, InstanceId, RoomId};

/// How many sorted sets the index of rooms is spread over.
pub const DUE_SHARDS: u32 = 16;

/// The keys of one room.
#[derive(Debug, Clone)]
pub struct RoomKeys {
    /// A record is lines of text: `epoch`, `op` (the connection's last operation), the gateway's instance, `userId`,
    /// and the state's JSON to the end.
    pub conns: String,
    /// Scores only grow.
    pub last_seen: String,
    /// Decides who joined first and who left last.
    pub users: String,
    /// The room's birth and its last event.
    pub info: String,
}

impl RoomKeys {
    /// The keys of `room`.
    pub fn of(room: &RoomId) -> Self {
        let key = |part| of_room(room, part);
        Self { conns: key("conns"), last_seen: key("last_seen"), users: key("users"), info: key("info") }
    }

    /// All four, in the order in which scripts take them.
    pub fn into_vec(self) -> Vec<String> {
        vec![self.conns, self.last_seen, self.users, self.info]
    }
}

/// The revisions of the channels that have a room's name.
pub fn revisions(room: &RoomId) -> String {
    of_room(room, "revisions")
}

/// The locks of the channels that have a room's name.
pub fn locks(room: &RoomId) -> String {
    of_room(room, "locks")
}

/// Who waits for them.
pub fn waiters(room: &RoomId) -> String {
    of_room(room, "waiters")
}

/// The items of a channel.
pub fn meta(channel: &ChannelId) -> String {
    format!("{}{}", of_room(&channel.name, "meta:"), channel.kind)
}

/// The last write of a connection to the channels of a name.
pub fn done(room: &RoomId, conn: &ConnId) -> String {
    format!("{}{conn}", of_room(room, "done:"))
}

fn of_room(room: &RoomId, part: &str) -> String {
    format!("prs:{{room:{}}}:{part}", room.tag())
}

/// The index that `room` stands in.
pub fn due(room: &RoomId) -> String {
    due_shard(shard(room))
}

/// The index with this number.
pub fn due_shard(shard: u32) -> String {
    format!("prs:due:{shard}")
}

/// The rooms of a gateway.
pub fn node_rooms(node: &InstanceId) -> String {
    format!("prs:node:{node}:rooms")
}

/// FNV-1a, so that every build agrees.
fn shard(room: &RoomId) -> u32 {
    let hash =
        room.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 16)) % DUE_SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_spread_over_the_shards() {
        let mut counts = [0; DUE_SHARDS as usize];
        for n in 0..1600 {
            counts[shard(&format!("room-{n}").as_str().into()) as usize] += 1;
        }
        assert!(counts.iter().all(|n| *n > 40), "{counts:?}");
    }

    #[test]
    fn awkward_rooms_keep_one_hash_tag() {
        for name in ["a{b}", "}", "%7D", "日本"] {
            let keys = RoomKeys::of(&name.into());
            assert_eq!(keys.conns.matches('}').count(), 1);
            assert_ne!(keys.conns, RoomKeys::of(&"other".into()).conns);
        }
        assert_ne!(RoomKeys::of(&"}".into()).conns, RoomKeys::of(&"%7D".into()).conns);
    }
}
