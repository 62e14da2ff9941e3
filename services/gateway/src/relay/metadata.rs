//! What members here were told of the channels of their room's name. A change is delivered if it is the next one of its
//! channel, or if it replaces the whole; where one may be missing, members are told the whole. No I/O: `catchup` fetches it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use protocol::{
    ChannelType, RoomId,
    client::MetadataMessage,
    command::metadata::TypedRecord,
    event::metadata::{EventItem, MetadataEvent, Operation},
};
use serde_json::value::RawValue;

use super::{
    reconcile::BEHIND_LIMIT,
    room::State,
    seat::{Seat, Sink},
};

/// A member whose queue is full is tried again this much later.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Default)]
pub(super) struct Channels {
    /// The last change that everybody was told, but for seats that lack some; none where no one can say.
    told: HashMap<ChannelType, u64>,
    /// The whole is being fetched: a change of a channel of which nothing was told may not be the next one.
    fetching: bool,
    /// It is fetched of all channels, whatever everybody knows.
    of_all: bool,
    /// Something else went missing meanwhile.
    again: bool,
}

/// What has to be done after members were told the whole.
pub(super) struct Caught<S> {
    /// Fetch it again, then.
    pub(super) again: Option<Duration>,
    /// Who has had no room in its queue for too long, and is no member any more.
    pub(super) late: Vec<S>,
}

impl<S: Sink> State<S> {
    /// A channel changed. Says whether members may have missed a change before it.
    pub(super) fn hear_metadata(&mut self, id: &RoomId, event: &MetadataEvent<'_>) -> bool {
        if self.seats.is_empty() {
            self.channels.told = HashMap::new();
            return false;
        }
        let kind = ChannelType::from(event.kind);
        let fits = match self.channels.told.get(&kind) {
            Some(told) if event.major_revision <= *told => return false,
            Some(told) => event.major_revision == told + 1 || event.operation == Operation::Set,
            None => !self.channels.fetching || event.operation == Operation::Set,
        };
        if !fits {
            return true;
        }
        self.channels.told.insert(kind, event.major_revision);
        let message = message(id, event, false);
        self.seats.values_mut().for_each(|seat| seat.tell_channel("metadata:event", &message));
        self.somebody_lacks()
    }

    /// Whether somebody did not take a change of a channel, and was not told the whole since.
    pub(super) fn somebody_lacks(&self) -> bool {
        self.seats.values().any(Seat::lacks_channels)
    }

    /// Something may have been missed. Says whether the whole has to be fetched: not if that is under way, for then it goes
    /// round once more.
    pub(super) fn begin_catchup(&mut self) -> bool {
        if self.seats.is_empty() {
            return false;
        }
        self.channels.again = std::mem::replace(&mut self.channels.fetching, true);
        !self.channels.again
    }

    /// Whether the whole is being fetched.
    pub(super) fn is_catching_up(&self) -> bool {
        self.channels.fetching
    }

    /// What everybody here knows, and whether it has to be fetched all the same, because somebody lacks some; none when no one
    /// is left to be told.
    pub(super) fn known_metadata(&mut self) -> Option<(Vec<(ChannelType, u64)>, bool)> {
        if self.seats.is_empty() {
            self.channels = Channels::default();
            return None;
        }
        self.ask_for_locks();
        self.channels.again = false;
        self.channels.of_all = self.somebody_lacks();
        let known = self.channels.told.iter().map(|(kind, told)| (kind.clone(), *told)).collect();
        Some((known, self.channels.of_all))
    }

    /// The whole was fetched, but for what everybody knows.
    pub(super) fn catch_up_metadata(&mut self, id: &RoomId, records: &[TypedRecord], now: Instant) -> Caught<S> {
        for TypedRecord { kind, record } in records {
            let is_new = self.channels.told.get(kind).is_none_or(|told| record.major_revision > *told);
            let items = record.items.iter();
            let event = MetadataEvent {
                operation: Operation::Set,
                major_revision: record.major_revision,
                ts: record.timestamp,
                traceparent: None,
                kind: kind.as_str(),
                author: None,
                items: items
                    .map(|item| EventItem { key: item.key.as_str(), value: &item.value, revision: item.revision })
                    .collect(),
            };
            let message = message(id, &event, true);
            for seat in self.seats.values_mut() {
                if is_new || seat.lacks_channels() {
                    seat.tell_again("metadata:event", &message);
                }
            }
            if is_new {
                self.channels.told.insert(kind.clone(), record.major_revision);
            }
        }
        // Who lacks a change is told all channels, at least as they were at the last change that the others were told.
        let is_whole = |(kind, told): (&ChannelType, &u64)| {
            records.iter().any(|one| one.kind == *kind && one.record.major_revision >= *told)
        };
        let is_all = self.channels.of_all && self.channels.told.iter().all(is_whole);
        let late = |seat: &Seat<S>| seat.lacking_since.is_some_and(|since| now.duration_since(since) > BEHIND_LIMIT);
        let late = self.seats.extract_if(|_, seat| late(seat)).map(|(_, seat)| seat.sink).collect();
        let mut again = self.channels.again.then_some(Duration::ZERO);
        for seat in self.seats.values_mut() {
            if !seat.took_all(is_all) {
                again = Some(RETRY_AFTER);
            }
        }
        self.channels.fetching = again.is_some();
        Caught { again, late }
    }

    /// No one here knows anything of the channels any more.
    pub(super) fn forget_metadata(&mut self) {
        self.channels.told = HashMap::new();
    }
}

fn message(id: &RoomId, event: &MetadataEvent<'_>, resync: bool) -> Box<RawValue> {
    let message = MetadataMessage {
        channel_name: id,
        channel_type: event.kind,
        operation: event.operation,
        items: &event.items,
        major_revision: event.major_revision,
        timestamp: event.ts,
        author_uid: event.author,
        resync,
    };
    serde_json::value::to_raw_value(&message).unwrap_or_default()
}
