//! Everything that was ever received from a room. No number comes twice with another meaning, whatever Redis lost in between.

use std::collections::BTreeMap;

use rollcall_protocol::event::{
    Kind, RoomEvent,
    lock::{Change, LockEvent},
    metadata::MetadataEvent,
};

use crate::copy::Items;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// The token with which each `(gen, seq)` came.
    tokens: BTreeMap<(u64, u64), u64>,
    /// The highest epoch of each connection.
    epochs: BTreeMap<String, u64>,
    highest_gen: u64,
    /// What was in a channel at each revision.
    contents: BTreeMap<(String, u64), Items>,
    highest_revisions: BTreeMap<String, u64>,
    /// Who held which lock under each fence.
    fences: BTreeMap<u64, (String, String)>,
    highest_fence: u64,
    /// The clock was set back once: a room that begins again may have a lower generation.
    pub(crate) was_set_back: bool,
}

impl Received {
    pub(crate) fn hear(&mut self, text: &str) {
        if let Some(event) = MetadataEvent::read(text) {
            let highest = self.highest_revisions.entry(event.kind.to_owned()).or_default();
            assert!(event.major_revision > *highest, "a revision went back from {highest}: {event:?}");
            *highest = event.major_revision;
        } else if let Some(event) = LockEvent::read(text) {
            if event.change == Change::Acquired {
                assert!(event.fence > self.highest_fence, "a fence went back from {}: {event:?}", self.highest_fence);
                self.highest_fence = event.fence;
            }
            self.grant(event.name, event.conn, event.fence);
        } else {
            self.hear_member(&RoomEvent::read(text).unwrap());
        }
    }

    fn hear_member(&mut self, event: &RoomEvent<'_>) {
        let before = self.tokens.insert((event.at.generation, event.at.seq), event.at.token);
        assert_eq!(before, None, "a number came twice: {event:?}");
        assert!(event.at.generation >= self.highest_gen || self.was_set_back, "a generation went back: {event:?}");
        self.highest_gen = event.at.generation;
        // A record that was rolled back may leave before it is restored.
        if event.kind != Kind::Leave {
            self.give_epoch(event.conn, event.epoch);
        }
    }

    /// A connection was given its epoch, or others received it.
    pub(crate) fn give_epoch(&mut self, conn: &str, epoch: u64) {
        let highest = self.epochs.entry(conn.to_owned()).or_default();
        assert!(epoch >= *highest, "an epoch of {conn} went back from {highest} to {epoch}");
        *highest = epoch;
    }

    /// A connection was granted a lock, or others were sent that it was.
    pub(crate) fn grant(&mut self, lock: &str, conn: &str, fence: u64) {
        let holder = (lock.to_owned(), conn.to_owned());
        let before = self.fences.entry(fence).or_insert_with(|| holder.clone());
        assert_eq!(*before, holder, "two hold a lock under the fence {fence}");
    }

    /// Someone received what is in a channel.
    pub(crate) fn show(&mut self, kind: &str, revision: u64, items: &Items) {
        if revision > 0 {
            let before = self.contents.entry((kind.to_owned(), revision)).or_insert_with(|| items.clone());
            assert_eq!(before, items, "{kind} has another content under the revision {revision}");
        }
    }

    /// A key with the items of a channel was lost, and the one with its revision was not: the next change replaces the whole.
    pub(crate) fn forget_contents(&mut self, kind: &str) {
        self.contents.retain(|(other, _), _| other != kind);
    }
}
