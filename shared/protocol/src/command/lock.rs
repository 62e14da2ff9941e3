//! Locks of channels: what is asked, what became of it. Each command may be repeated without harm: it names its
//! connection's operation, and the channel remembers the last one of each connection for a while.

use serde::{Deserialize, Serialize};

use crate::ids::{ChannelId, ConnId, InstanceId, LockId, LockName, RoomId, UserId};

/// Something asked of locks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// Take a lock, or wait for it.
    Acquire(Acquire),
    /// Hold it longer.
    Renew(Renew),
    /// Let it go.
    Release(Release),
    /// Wait no longer.
    Withdraw(Withdraw),
    /// Let go of everything of a connection in the channels of a name, and wait for nothing.
    Drop(DropAll),
    /// End what has outlived its TTL in the channels of a name.
    Expire {
        /// The name.
        room: RoomId,
    },
    /// Tell who holds what.
    Get {
        /// The channel.
        channel: ChannelId,
        /// Only this lock.
        name: Option<LockName>,
    },
}

impl Lock {
    /// The room whose order the command keeps.
    pub fn room(&self) -> &RoomId {
        match self {
            Lock::Acquire(c) => &c.lock.channel.name,
            Lock::Renew(c) => &c.lock.channel.name,
            Lock::Release(c) => &c.lock.channel.name,
            Lock::Withdraw(c) => &c.lock.channel.name,
            Lock::Drop(c) => &c.room,
            Lock::Expire { room } => room,
            Lock::Get { channel, .. } => &channel.name,
        }
    }

    /// The verb, as it stands in span names (`lock.<verb>`).
    pub fn verb(&self) -> &'static str {
        match self {
            Lock::Acquire(_) => "acquire",
            Lock::Renew(_) => "renew",
            Lock::Release(_) => "release",
            Lock::Withdraw(_) => "withdraw",
            Lock::Drop(_) => "drop",
            Lock::Expire { .. } => "expire",
            Lock::Get { .. } => "get",
        }
    }
}

/// See [`Lock::Acquire`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Acquire {
    /// The lock.
    pub lock: LockId,
    /// Whose connection it is.
    pub user: UserId,
    /// The connection.
    pub conn: ConnId,
    /// The gateway that holds it.
    pub gateway: InstanceId,
    /// The connection's operation; a waiter that asks again names the one that it began with.
    pub op: u64,
    /// How long it is held without being renewed.
    pub ttl_ms: u64,
    /// How long to wait for it.
    pub wait_ms: u64,
}

/// See [`Lock::Renew`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Renew {
    /// The lock.
    pub lock: LockId,
    /// The connection that holds it.
    pub conn: ConnId,
    /// Under which fence.
    pub fence: u64,
    /// How long from now on.
    pub ttl_ms: u64,
}

/// See [`Lock::Release`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Release {
    /// The lock.
    pub lock: LockId,
    /// The connection that holds it.
    pub conn: ConnId,
    /// The connection's operation.
    pub op: u64,
    /// Under which fence.
    pub fence: u64,
}

/// See [`Lock::Withdraw`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Withdraw {
    /// The lock.
    pub lock: LockId,
    /// The connection that waits.
    pub conn: ConnId,
    /// The operation that began to wait.
    pub op: u64,
    /// Whether a lock that was granted meanwhile is kept; else it is let go again.
    pub keep: bool,
}

/// See [`Lock::Drop`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DropAll {
    /// The name of the channels.
    pub room: RoomId,
    /// The connection.
    pub conn: ConnId,
    /// The connection's operation.
    pub op: u64,
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which.
    pub lock: LockId,
    /// By whose connection.
    pub owner: UserId,
    /// By which connection.
    pub conn: ConnId,
    /// A number that only grows from one holder to the next.
    pub fence: u64,
    /// Until when, in milliseconds of Redis' clock.
    pub expires_at_ms: u64,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Locked {
    /// The connection holds the lock.
    Held(Held),
    /// Another does; the connection stands in line.
    Waits {
        /// Who holds it.
        holder: Held,
        /// How many stand before it.
        ahead: u64,
    },
    /// Another does.
    Taken(Held),
    /// It waits no longer, and does not hold it; who does, if anybody.
    Withdrawn(Option<Held>),
    /// The connection does not hold the lock, or not under that fence.
    Lost,
    /// Too many wait in the channels of this name, or too many locks are held there.
    Full,
    /// A later operation of the connection was there first.
    Overtaken,
    /// Done.
    Done,
    /// The locks that are held.
    List(Vec<Held>),
}
