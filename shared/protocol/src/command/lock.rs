//! Locks of channels: requests and their outcomes. Each command may be repeated without harm: it names its connection's
//! operation, and the channel remembers the last one of each connection for a while.

use serde::{Deserialize, Serialize};

use crate::ids::{ChannelId, ConnId, InstanceId, LockId, LockName, RoomId, UserId};

/// A request about locks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// Take a lock, or wait for it.
    Acquire(Acquire),
    /// Hold a lock longer.
    Renew(Renew),
    /// Release a lock.
    Release(Release),
    /// Stop waiting for a lock.
    Withdraw(Withdraw),
    /// Release every lock of a connection in the channels of a name, and stop waiting for any.
    Drop(DropAll),
    /// End the locks that outlived their TTL in the channels of a name.
    Expire {
        /// The name.
        room: RoomId,
    },
    /// List the locks that are held.
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
    /// The user of the connection.
    pub user: UserId,
    /// The connection.
    pub conn: ConnId,
    /// The gateway that holds it.
    pub gateway: InstanceId,
    /// The connection's operation; a waiter that asks again names the one that it began with.
    pub op: u64,
    /// How long it is held without a renewal, in milliseconds.
    pub ttl_ms: u64,
    /// How long to wait for it, in milliseconds.
    pub wait_ms: u64,
}

/// See [`Lock::Renew`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Renew {
    /// The lock.
    pub lock: LockId,
    /// The connection that holds it.
    pub conn: ConnId,
    /// The fencing token under which it holds the lock.
    pub fence: u64,
    /// How long from now on, in milliseconds.
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
    /// The fencing token under which it holds the lock.
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
    /// Whether a lock that was granted meanwhile is kept; otherwise it is released.
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
    /// The lock.
    pub lock: LockId,
    /// The user of the connection that holds it.
    pub owner: UserId,
    /// The connection that holds it.
    pub conn: ConnId,
    /// The fencing token: a number that grows from one holder to the next.
    pub fence: u64,
    /// When it ends unless it is renewed, in milliseconds of Redis' clock.
    pub expires_at_ms: u64,
}

/// The outcome of a request about locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Locked {
    /// The connection holds the lock.
    Held(Held),
    /// Another connection holds it; this one waits.
    Waits {
        /// The holder.
        holder: Held,
        /// How many connections wait before it.
        ahead: u64,
    },
    /// Another connection holds it.
    Taken(Held),
    /// The connection no longer waits and does not hold the lock; this is the holder, if there is one.
    Withdrawn(Option<Held>),
    /// The connection does not hold the lock, or not under that fencing token.
    Lost,
    /// Too many connections wait in the channels of this name, or too many locks are held there.
    Full,
    /// A later operation of the connection was carried out first.
    Overtaken,
    /// Done.
    Done,
    /// The locks that are held.
    List(Vec<Held>),
}
