//! Builds messages to members from what a script published.

use rollcall_protocol::{
    RoomId,
    client::{
        ChangedItem, EventKind, EventMessage, LeaveReason, List, LockChange, LockMessage, MetadataMessage, Operation,
    },
    event::{self, Kind, Reason, RoomEvent, lock::Change, metadata::MetadataEvent},
};
use serde::Serialize;

/// An event of a room, sent as `kind`. `user_edge`: it is the first or last connection of its user in the room.
pub(crate) fn presence<'a>(
    room: &'a RoomId,
    event: &RoomEvent<'a>,
    kind: Kind,
    user_edge: bool,
    resync: bool,
) -> EventMessage<'a> {
    let kind = event_kind(kind);
    EventMessage {
        kind,
        room_id: room,
        user_id: event.user,
        conn_id: event.conn,
        state: event.state,
        info: event.info,
        ts: event.ts,
        epoch: event.epoch,
        seq: event.at.seq,
        generation: event.at.generation,
        reason: event.reason.map(leave_reason),
        user_joined: (kind == EventKind::Join).then_some(user_edge),
        user_left: (kind == EventKind::Leave).then_some(user_edge),
        resync,
    }
}

/// To members that did not know the connection, a restored record is a join.
fn event_kind(kind: Kind) -> EventKind {
    match kind {
        Kind::Join | Kind::Restore => EventKind::Join,
        Kind::Update => EventKind::Update,
        Kind::Leave => EventKind::Leave,
    }
}

fn leave_reason(reason: Reason) -> LeaveReason {
    match reason {
        Reason::Left => LeaveReason::Left,
        Reason::Disconnected => LeaveReason::Disconnected,
        Reason::Expired => LeaveReason::Expired,
        Reason::NodeLost => LeaveReason::NodeLost,
        Reason::Forbidden => LeaveReason::Forbidden,
    }
}

/// A change of a channel's metadata.
pub(crate) fn metadata<'a>(
    room: &'a RoomId,
    event: &'a MetadataEvent<'a>,
    resync: bool,
) -> MetadataMessage<'a, impl Serialize + use<'a>> {
    let items = event.items.iter();
    MetadataMessage {
        channel_name: room,
        channel_type: event.kind,
        operation: operation(event.operation),
        items: List(items.map(|item| ChangedItem { key: item.key, value: item.value, revision: item.revision })),
        major_revision: event.major_revision,
        timestamp: event.ts,
        author_uid: event.author,
        resync,
    }
}

fn operation(operation: event::metadata::Operation) -> Operation {
    match operation {
        event::metadata::Operation::Set => Operation::Set,
        event::metadata::Operation::Update => Operation::Update,
        event::metadata::Operation::Remove => Operation::Remove,
    }
}

/// A change of the lock with this channel type and name.
pub(crate) fn lock<'a>(
    room: &'a RoomId,
    (channel_type, lock_name): (&'a str, &'a str),
    change: Change,
    owner: &'a str,
    fence: u64,
    resync: bool,
) -> LockMessage<'a> {
    let change = lock_change(change);
    LockMessage { channel_name: room, channel_type, lock_name, change, owner, fence, resync }
}

fn lock_change(change: Change) -> LockChange {
    match change {
        Change::Acquired => LockChange::Acquired,
        Change::Released => LockChange::Released,
        Change::Expired => LockChange::Expired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(message: &impl Serialize) -> String {
        serde_json::to_string(message).unwrap()
    }

    #[test]
    fn a_leave_has_its_reason_and_whether_its_user_left() {
        let text = "3 5 3 9 8 7 6 4 leave node_lost 1\n\nc1\nann\n\n{\"a\": 1e400}";
        let event = RoomEvent::read(text).unwrap();
        let room = RoomId::from("r");
        assert_eq!(
            json(&presence(&room, &event, event.kind, event.user_edge, false)),
            r#"{"type":"leave","roomId":"r","userId":"ann","connId":"c1","state":{"a": 1e400},"ts":7,"epoch":6,"seq":3,"gen":5,"reason":"node_lost","userLeft":true}"#
        );
    }

    #[test]
    fn a_restored_record_is_a_join_with_its_info() {
        let event = RoomEvent::read("3 5 3 9 8 7 6 4 restore - 0\n\nc1\nann\n{\"n\":1}\n{}").unwrap();
        let room = RoomId::from("r");
        assert_eq!(
            json(&presence(&room, &event, event.kind, true, true)),
            r#"{"type":"join","roomId":"r","userId":"ann","connId":"c1","state":{},"info":{"n":1},"ts":7,"epoch":6,"seq":3,"gen":5,"userJoined":true,"resync":true}"#
        );
    }

    /// Clients are sent the words that scripts publish.
    #[test]
    fn scripts_and_clients_use_the_same_words() {
        for word in ["left", "disconnected", "expired", "node_lost", "forbidden"] {
            let text = format!("3 5 3 9 8 7 6 4 leave {word} 1\n\nc1\nann\n\n{{}}");
            let reason = RoomEvent::read(&text).unwrap().reason.map(leave_reason);
            assert_eq!(json(&reason), format!("{word:?}"));
        }
        for word in ["set", "update", "remove"] {
            let text = format!("m1 {word} 7 1\n\nT\nann\n3 4\nk\nnull\n");
            let (room, event) = (RoomId::from("c"), MetadataEvent::read(&text).unwrap());
            let expected = format!(
                r#"{{"channelName":"c","channelType":"T","operation":"{word}","items":[{{"key":"k","value":null,"revision":3}}],"majorRevision":7,"timestamp":1,"authorUid":"ann"}}"#
            );
            assert_eq!(json(&metadata(&room, &event, false)), expected);
        }
        for word in ["acquired", "released", "expired"] {
            let text = format!("l1 {word} 9 1 4\n\nT\npen\nc1\nann");
            let (room, event) = (RoomId::from("c"), event::lock::LockEvent::read(&text).unwrap());
            let message = lock(&room, (event.kind, event.name), event.change, event.owner, event.fence, false);
            let expected = format!(
                r#"{{"channelName":"c","channelType":"T","lockName":"pen","type":"{word}","owner":"ann","fence":9}}"#
            );
            assert_eq!(json(&message), expected);
        }
    }
}
