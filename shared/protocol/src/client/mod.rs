//! What clients send and are sent: the events of Socket.IO, their acknowledgements, and what members of a room are sent
//! without asking. Every check of a payload is here, so that a bad one is rejected before anything else sees it.
//!
//! - `payload`: what the fields of all payloads have in common.
//! - `presence`, `metadata`, `lock`: the payloads of `presence:*`, `metadata:*` and `lock:*`.
//! - `rejected_event`: what can be read of an event that was rejected.
//! - `answer`: acknowledgements. `message`: what members are sent. `sequence`: lists in both.

mod answer;
mod lock;
mod message;
mod metadata;
mod payload;
mod presence;
mod rejected_event;
mod sequence;

use serde_json::value::RawValue;

use crate::{
    fault::Fault,
    ids::{ChannelId, RoomId, UserId},
};

pub use answer::{
    ChannelAnswer, ChannelItem, DONE, Done, HeartbeatAnswer, HeldRejection, JoinAnswer, ListedLock, LockAnswer,
    LocksAnswer, Member, OwnConn, Rejection,
};
pub use lock::LockAsk;
pub use message::{
    ChangedItem, EventKind, EventMessage, LeaveReason, LockChange, LockMessage, MetadataMessage, Operation, SyncMessage,
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
        /// The room to be in.
        room: RoomId,
        /// Who joins.
        user: UserId,
        /// The connection's state; `{}` where the client sent none.
        state: Box<RawValue>,
    },
    /// `presence:heartbeat`
    Heartbeat {
        /// The epoch that the client believes in; none means the current one.
        epoch: Option<u64>,
        /// What to merge over the state.
        patch: Option<Box<RawValue>>,
    },
    /// `presence:leave`
    Leave,
    /// `metadata:*`; boxed, for a queue's places are as large as the largest.
    Metadata(Box<(ChannelId, MetadataAsk)>),
    /// `lock:*`
    Lock(Box<LockAsk>),
}

/// Reads a Socket.IO event from its arguments, the JSON array `["event", payload]`.
///
/// # Errors
/// `INVALID_PAYLOAD` or `TOO_LARGE`, naming the field.
pub fn parse(arguments: &str) -> Result<Request, Fault> {
    let (event, payload) = split(arguments)?;
    let payload = payload.map(RawValue::get);
    match event.as_str() {
        "presence:heartbeat" => presence::heartbeat(payload),
        "presence:join" => presence::join(payload),
        "presence:leave" => presence::leave(payload),
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

fn split(arguments: &str) -> Result<(String, Option<&RawValue>), Fault> {
    let malformed = |_| Fault::invalid("the event is not valid JSON");
    // The common shapes first: a tuple borrows its payload and allocates no list.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fault::Code, limits::MAX_SAFE_INTEGER};
    use proptest::prelude::*;

    fn refused(arguments: &str, word: &str) {
        let fault = parse(arguments).unwrap_err();
        assert!(fault.message.contains(word), "{arguments}: {fault}");
    }

    #[test]
    fn a_join_keeps_its_state_to_the_letter() {
        let json =
            r#"["presence:join",{"roomId":"日本","userId":"u","extra":1,"state":{"b": 1e400, "a":9007199254740993}}]"#;
        let Ok(Request::Join { room, state, .. }) = parse(json) else { panic!("refused") };
        assert_eq!(room.as_str(), "日本");
        assert_eq!(state.get(), r#"{"b": 1e400, "a":9007199254740993}"#);
    }

    #[test]
    fn a_state_of_null_is_none() {
        let json = r#"["presence:join",{"roomId":"r","userId":"u","state":null}]"#;
        assert!(matches!(parse(json), Ok(Request::Join { state, .. }) if state.get() == "{}"));
    }

    #[test]
    fn bad_payloads_are_refused_by_field() {
        refused(r#"["presence:join"]"#, "payload");
        refused(r#"["presence:join",null]"#, "payload");
        refused(r#"["presence:join",[]]"#, "payload");
        refused(r#"["presence:join",{"userId":"u"}]"#, "roomId");
        refused(r#"["presence:join",{"roomId":7,"userId":"u"}]"#, "roomId");
        refused(r#"["presence:join",{"roomId":"r","userId":null}]"#, "userId");
        refused(r#"["presence:join",{"roomId":"r","userId":"u","state":[]}]"#, "state");
        refused(r#"["presence:join",{"roomId":"r","userId":"u"},1]"#, "arguments");
        refused(r#"["presence:heartbeat",{"epoch":-1}]"#, "epoch");
        refused(r#"["presence:heartbeat",{"epoch":1.5}]"#, "epoch");
        refused(r#"["presence:heartbeat",{"epoch":"1"}]"#, "epoch");
        refused(r#"["presence:heartbeat",{"patchState":NaN}]"#, "JSON");
        refused(r#"["presence:nothing",{}]"#, "event");
        refused(r#"["presence:leave",7]"#, "payload");
    }

    #[test]
    fn heartbeats_and_leaves() {
        for payload in ["", ",null", ",{}", ",{ }", r#",{"epoch":null,"patchState":null}"#] {
            let plain = format!(r#"["presence:heartbeat"{payload}]"#);
            assert!(matches!(parse(&plain), Ok(Request::Heartbeat { epoch: None, patch: None })), "{plain}");
        }
        let float = r#"["presence:heartbeat",{"epoch":1.79570397037e12}]"#;
        assert!(matches!(parse(float), Ok(Request::Heartbeat { epoch: Some(1_795_703_970_370), .. })));
        let highest = format!(r#"["presence:heartbeat",{{"epoch":{MAX_SAFE_INTEGER}}}]"#);
        assert!(matches!(parse(&highest), Ok(Request::Heartbeat { epoch: Some(MAX_SAFE_INTEGER), .. })));
        for leave in [r#"["presence:leave"]"#, r#"["presence:leave",null]"#, r#"["presence:leave",{}]"#] {
            assert!(matches!(parse(leave), Ok(Request::Leave)), "{leave}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*") {
            let _ = parse(&text);
            let _ = parse(&format!(r#"["presence:join",{text}]"#));
            let _ = parse(&format!(r#"["presence:heartbeat",{{"patchState":{text}}}]"#));
            let _ = parse(&format!(r#"["metadata:setChannel",{{"channelName":"c","channelType":"t","data":{text}}}]"#));
            let _ = parse(&format!(r#"["lock:acquire",{{"channelName":"c","channelType":"t","lockName":{text}}}]"#));
            let _ = parse(&format!(
                r#"["metadata:removeChannel",{{"channelName":"c","channelType":"t","options":{text}}}]"#
            ));
        }

        #[test]
        fn a_refusal_is_the_clients_fault(text in "[\\[\\]{}\",:a-z0-9]*") {
            if let Err(fault) = parse(&text) {
                prop_assert!(matches!(fault.code, Code::InvalidPayload | Code::TooLarge));
            }
        }
    }
}
