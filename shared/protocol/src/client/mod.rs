//! What clients send and are sent: the events of Socket.IO, their acknowledgements, and what members of a room are sent
//! without asking. Every check of a payload is here, so that a bad one is rejected before anything else sees it.
//!
//! - `payload`: what the fields of all payloads have in common.
//! - `auth`, `presence`, `metadata`, `lock`: the payloads of `auth:*`, `presence:*`, `metadata:*` and `lock:*`.
//! - `rejected_event`: what can be read of an event that was rejected.
//! - `answer`: acknowledgements. `message`: what members are sent. `sequence`: lists in both.

mod answer;
mod auth;
mod lock;
mod message;
mod metadata;
mod payload;
mod presence;
mod rejected_event;
mod sequence;
#[cfg(test)]
mod tests;

use serde_json::value::RawValue;

use crate::{
    fault::Fault,
    ids::{ChannelId, RoomId, UserId},
};

pub use answer::{
    ChannelAnswer, ChannelItem, DONE, Done, HeartbeatAnswer, HeldRejection, JoinAnswer, ListedLock, LockAnswer,
    LocksAnswer, Member, OwnConn, RateRejection, RefreshAnswer, Rejection,
};
pub use auth::Token;
pub use lock::LockAsk;
pub use message::{
    ChangedItem, EventKind, EventMessage, ExpiringMessage, LeaveReason, LockChange, LockMessage, MetadataMessage,
    Operation, SyncMessage,
};
pub use metadata::{MetadataAsk, Write, WriteItem, WriteOptions};
pub use presence::empty_object;
pub use rejected_event::RejectedEvent;
pub use sequence::{List, Object};

/// One event of a client, checked.
#[derive(Debug)]
pub enum Request {
    /// `presence:join`
    Join {
        /// The room.
        room: RoomId,
        /// The user who joins; `None` means the user of the client's token.
        user: Option<UserId>,
        /// The connection's state; `{}` if the client sent none.
        state: Box<RawValue>,
    },
    /// `presence:heartbeat`
    Heartbeat {
        /// The epoch that the client knows; `None` means the current one.
        epoch: Option<u64>,
        /// What to merge over the state.
        patch: Option<Box<RawValue>>,
    },
    /// `presence:leave`
    Leave,
    /// `auth:refresh`
    Refresh(Token),
    /// `metadata:*`; boxed, because every slot of a queue is as large as the largest request.
    Metadata(Box<(ChannelId, MetadataAsk)>),
    /// `lock:*`
    Lock(Box<LockAsk>),
}

/// Reads a Socket.IO event from its arguments, the JSON array `["event", payload]`.
///
/// # Errors
/// `INVALID_PAYLOAD` or `TOO_LARGE`, naming the field.
pub fn parse(arguments: &str) -> Result<Request, Fault> {
    if let Some((event, payload)) = split_compact(arguments)
        && let Ok(request) = read(event, Some(payload))
    {
        return Ok(request);
    }
    let (event, payload) = split(arguments)?;
    read(&event, payload.map(RawValue::get))
}

/// Checks what `event` asks for. Each reader parses the whole payload, which may be any text that begins with `{`.
fn read(event: &str, payload: Option<&str>) -> Result<Request, Fault> {
    match event {
        "presence:heartbeat" => presence::heartbeat(payload),
        "presence:join" => presence::join(payload),
        "presence:leave" => presence::leave(payload),
        "auth:refresh" => auth::refresh(payload),
        "metadata:setChannel" => metadata::set(payload),
        "metadata:updateChannel" => metadata::update(payload),
        "metadata:removeChannel" => metadata::remove(payload),
        "metadata:getChannel" => metadata::get(payload),
        "lock:acquire" => lock::acquire(payload),
        "lock:renew" => lock::renew(payload),
        "lock:release" => lock::release(payload),
        "lock:get" => lock::get(payload),
        _ => Err(Fault::invalid("there is no such event")),
    }
}

/// Splits `["event",{…}]`, as clients write it, without looking into the payload: it is parsed only once, by its reader. On a
/// heartbeat with a patch of 1 KiB this and [`state::check`](crate::state::check) save two of three parses.
fn split_compact(arguments: &str) -> Option<(&str, &str)> {
    let (event, payload) = arguments.strip_prefix("[\"")?.strip_suffix(']')?.split_once("\",")?;
    payload.starts_with('{').then_some((event, payload))
}

/// Splits what else is valid, or says why it is not.
fn split(arguments: &str) -> Result<(String, Option<&RawValue>), Fault> {
    let malformed = |_| Fault::invalid("the event is not valid JSON");
    // One payload first: a tuple borrows it and allocates no list.
    if let Ok((event, payload)) = serde_json::from_str::<(String, &RawValue)>(arguments) {
        return Ok((event, Some(payload)));
    }
    let parts: Vec<&RawValue> = serde_json::from_str(arguments).map_err(malformed)?;
    let event = parts.first().map(|name| name.get()).unwrap_or_default();
    let event = serde_json::from_str(event).map_err(malformed)?;
    match parts.len() {
        1 => Ok((event, None)),
        _ => Err(Fault::invalid("an event takes one payload; there were more arguments")),
    }
}
