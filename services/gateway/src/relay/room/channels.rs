//! The channels of a room's name, as members here know them. A change is delivered if it is the next one of its channel, or if
//! it replaces the channel. If one may be missing, a sync sends members the full state of the channels. No I/O: `dirty` fetches
//! it page by page.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rollcall_protocol::{
    ChannelType, RoomId,
    command::{Catchup, metadata::TypedRecord},
    event::metadata::{EventItem, MetadataEvent, Operation},
};
use serde_json::value::RawValue;

use super::{
    BEHIND_LIMIT, RETRY_AFTER,
    sink::Sink,
    subscriber::{Subscriber, Subscribers},
};
use crate::translate;

/// The channels of a room's name.
#[derive(Default)]
pub(super) struct Channels {
    /// The revision of the last change that all subscribers were sent, except those that lack changes. Channels whose last sent
    /// change is not known have no entry.
    last_sent: HashMap<ChannelType, u64>,
    sync: Option<Sync>,
}

/// A sync under way.
struct Sync {
    began: Instant,
    /// It fetches all channels, not only those that changed, because a subscriber lacks changes.
    of_all: bool,
    /// More changes went missing meanwhile.
    again: bool,
    /// The last channel that was fetched; `None` before the first page.
    after: Option<ChannelType>,
    /// The revisions that were fetched.
    fetched: HashMap<ChannelType, u64>,
}

/// What follows a page of a sync.
pub(in crate::relay) struct Synced<S> {
    /// When to ask for the next page; `None` when the sync is done.
    pub(in crate::relay) next: Option<Duration>,
    /// Members that had no room in their queues for too long, and were removed.
    pub(in crate::relay) late: Vec<S>,
}

impl Channels {
    /// A channel changed. Returns whether a sync is needed: an earlier change may be missing, or a subscriber had no room for it.
    pub(super) fn hear<S: Sink>(
        &mut self,
        id: &RoomId,
        subscribers: &mut Subscribers<S>,
        event: &MetadataEvent<'_>,
    ) -> bool {
        if subscribers.is_empty() {
            self.forget();
            return false;
        }
        let kind = ChannelType::from(event.kind);
        let fits = match self.last_sent.get(&kind) {
            Some(last) if event.major_revision <= *last => return false,
            Some(last) => event.major_revision == last + 1 || event.operation == Operation::Set,
            None => self.sync.is_none() || event.operation == Operation::Set,
        };
        if !fits {
            return true;
        }
        self.last_sent.insert(kind, event.major_revision);
        let message = message(id, event, false);
        subscribers.values_mut().for_each(|subscriber| subscriber.send_change("metadata:event", &message));
        any_lacks(subscribers)
    }

    /// Changes may have been missed. Returns whether a sync begins. If one is under way, it runs again instead.
    pub(super) fn begin_sync(&mut self) -> bool {
        if let Some(sync) = &mut self.sync {
            sync.again = true;
            return false;
        }
        self.sync = Some(Sync::new(Instant::now()));
        true
    }

    /// Whether a sync is under way.
    pub(super) fn is_syncing(&self) -> bool {
        self.sync.is_some()
    }

    /// The next page to ask for; `None` if there are no subscribers left.
    pub(super) fn ask<S: Sink>(&mut self, id: &RoomId, subscribers: &Subscribers<S>) -> Option<Catchup> {
        if subscribers.is_empty() {
            *self = Self::default();
            return None;
        }
        let sync = self.sync.get_or_insert_with(|| Sync::new(Instant::now()));
        if sync.after.is_none() {
            *sync = Sync { of_all: any_lacks(subscribers), ..Sync::new(Instant::now()) };
        }
        let known = self.last_sent.iter().map(|(kind, last)| (kind.clone(), *last)).collect();
        Some(Catchup { room: id.clone(), known, all: sync.of_all, after: sync.after.clone() })
    }

    /// Takes a page. `after` is where the next one begins, if there is one.
    pub(super) fn take_page<S: Sink>(
        &mut self,
        id: &RoomId,
        subscribers: &mut Subscribers<S>,
        records: &[TypedRecord],
        after: Option<&ChannelType>,
        now: Instant,
    ) -> Synced<S> {
        for record in records {
            self.take_record(id, subscribers, record);
        }
        let is_late =
            |one: &Subscriber<S>| one.lacking_since.is_some_and(|since| now.duration_since(since) > BEHIND_LIMIT);
        let late = subscribers.extract_if(|_, one| is_late(one)).map(|(_, one)| one.sink).collect();
        let Some(sync) = &mut self.sync else { return Synced { next: None, late } };
        if after.is_some() {
            sync.after = after.cloned();
            // Who has no room for this page has none for the next one: that is fetched again after a while, and the rest of this
            // round only has what is new for the others.
            sync.of_all &= subscribers.values().any(Subscriber::takes_sync);
            return Synced { next: Some(Duration::ZERO), late };
        }
        // A subscriber that lacks changes is up to date if every channel was fetched, at or after the last change that the others
        // were sent.
        let is_current =
            |(kind, last): (&ChannelType, &u64)| sync.fetched.get(kind).is_some_and(|fetched| fetched >= last);
        let has_all = sync.of_all && self.last_sent.iter().all(is_current);
        let mut next = sync.again.then_some(Duration::ZERO);
        for subscriber in subscribers.values_mut() {
            if !subscriber.took_sync(has_all.then_some(sync.began)) {
                next = Some(RETRY_AFTER);
            }
        }
        self.sync = next.map(|_| Sync::new(now));
        Synced { next, late }
    }

    fn take_record<S: Sink>(&mut self, id: &RoomId, subscribers: &mut Subscribers<S>, one: &TypedRecord) {
        let TypedRecord { kind, record } = one;
        let is_new = self.last_sent.get(kind).is_none_or(|last| record.major_revision > *last);
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
        for subscriber in subscribers.values_mut() {
            if is_new || subscriber.lacks_channels() {
                subscriber.send_sync("metadata:event", &message);
            }
        }
        if is_new {
            self.last_sent.insert(kind.clone(), record.major_revision);
        }
        if let Some(sync) = &mut self.sync {
            sync.fetched.insert(kind.clone(), record.major_revision);
        }
    }

    /// The sync that is under way ends without an answer.
    pub(super) fn end_sync(&mut self) {
        self.sync = None;
    }

    /// No one here knows anything of the channels any more.
    pub(super) fn forget(&mut self) {
        self.last_sent = HashMap::new();
    }
}

impl Sync {
    fn new(began: Instant) -> Self {
        Self { began, of_all: false, again: false, after: None, fetched: HashMap::new() }
    }
}

/// Whether a subscriber had no room for a change of a channel or a lock, and was not sent the full state since.
pub(super) fn any_lacks<S: Sink>(subscribers: &Subscribers<S>) -> bool {
    subscribers.values().any(Subscriber::lacks_channels)
}

fn message(id: &RoomId, event: &MetadataEvent<'_>, resync: bool) -> Box<RawValue> {
    let message = translate::message::metadata(id, event, resync);
    serde_json::value::to_raw_value(&message).unwrap_or_default()
}
