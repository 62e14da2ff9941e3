//! One member's place in a room: where it stands, what it was shown, and whether it waits for something.

use std::{collections::HashMap, sync::Arc, time::Instant};

use protocol::ConnId;
use serde_json::value::RawValue;

use super::{
    publication::Publication,
    room::Position,
    roster::{Known, Roster},
    truth::Truth,
};
use crate::socket::session::Session;

/// Where the messages of a member go.
pub(super) trait Sink: Clone {
    /// Sends a message; says whether there was room for it.
    fn emit(&self, event: &str, message: &RawValue) -> bool;
    /// The room was told that the member is gone, although it is here.
    fn evicted(&self);
}

impl Sink for Arc<Session> {
    fn emit(&self, event: &str, message: &RawValue) -> bool {
        Session::emit(self, event, message)
    }

    fn evicted(&self) {
        Session::evicted(self);
    }
}

/// See the module. Every idle connection has one: what is seldom needed is boxed.
pub(super) struct Seat<S> {
    pub(super) sink: S,
    /// By its answer or by what it was sent.
    pub(super) at: Position,
    /// It joins again: its answer comes first.
    pub(super) held: bool,
    /// It lived through the beginning of the room's new life and has not been told the whole since: what comes back
    /// unchanged it never missed.
    pub(super) settling: bool,
    /// It did not take an event, since when; a snapshot brings it up to date.
    pub(super) behind_since: Option<Instant>,
    /// Where what it was shown is not what the roster says.
    pub(super) shown: Shown,
    /// It did not take a change of a channel, since when; it is told the whole.
    pub(super) lacking_since: Option<Instant>,
    /// It did not take all of the whole either.
    lacks_some: bool,
}

impl<S: Sink> Seat<S> {
    pub(super) fn new(sink: S, at: Position, shown: Shown) -> Self {
        Self {
            sink,
            at,
            held: false,
            settling: false,
            behind_since: None,
            shown,
            lacking_since: None,
            lacks_some: false,
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind_since.is_some()
    }

    pub(super) fn fall_behind(&mut self) {
        self.behind_since.get_or_insert_with(Instant::now);
    }

    /// Whether it has to be told the whole of the channels.
    pub(super) fn lacks_channels(&self) -> bool {
        self.lacking_since.is_some()
    }

    /// Tells it a change of a channel, unless it lacks one before that.
    pub(super) fn tell_channel(&mut self, event: &str, message: &RawValue) {
        if !self.lacks_channels() && !self.sink.emit(event, message) {
            self.lacking_since = Some(Instant::now());
        }
    }

    /// Tells it the whole of a channel.
    pub(super) fn tell_again(&mut self, event: &str, message: &RawValue) {
        if self.lacks_some || !self.sink.emit(event, message) {
            self.lacks_some = true;
            self.lacking_since.get_or_insert_with(Instant::now);
        }
    }

    /// It was told what was fetched, `is_all` of the channels or not; says whether it lacks nothing.
    pub(super) fn took_all(&mut self, is_all: bool) -> bool {
        let took = !std::mem::take(&mut self.lacks_some);
        if took && is_all {
            self.lacking_since = None;
        }
        !self.lacks_channels()
    }

    /// Sends an event of the room, unless its answer knows of it; `lacks` says that it was not shown the connection. Says
    /// whether it was sent.
    pub(super) fn send(&mut self, publication: &Publication, lacks: bool) -> bool {
        if publication.at <= self.at || self.held || self.is_behind() {
            return false;
        }
        let sent = publication.send(&self.sink, lacks);
        if sent {
            self.at = publication.at;
        } else {
            self.fall_behind();
        }
        sent
    }

    /// Takes the roster that a snapshot gave, and tells it what it missed, as events, and then the whole; unless it is
    /// `later` than the snapshot, or joins again.
    pub(super) fn bring_up_to_date(&mut self, truth: &Truth<'_>, later: bool) {
        let is_usual = self.shown.is_empty();
        truth.before.iter().for_each(|(conn, was)| self.shown.note(conn, was));
        self.shown.compare(truth.roster);
        let behind = self.is_behind();
        let is_settled = self.settling && truth.held_back.is_empty();
        if self.held || (later && !behind) {
            return;
        }
        if !truth.everyone && !behind && !is_settled {
            return;
        }
        let mut took = true;
        // Who was answered in the room's new life is told by the snapshot alone, and knows nobody who is held back.
        self.settling = !truth.held_back.is_empty() && (self.settling || self.at.birth != truth.at.birth);
        let is_usual = is_usual && (self.settling || truth.held_back.is_empty());
        if !self.settling {
            truth.held_back.iter().for_each(|conn| self.shown.note(conn, truth.roster.get(conn.as_str())));
        }
        let own = (!is_usual).then(|| truth.changes_for(&self.shown, self.settling));
        for change in own.as_deref().unwrap_or_else(|| truth.changes()) {
            took = took && change.send(&self.sink, false);
            if took {
                self.shown.set(&change.conn, change.after.as_ref());
            }
        }
        self.at = truth.at;
        if self.settling {
            took = took && !behind;
        } else if took && self.sink.emit("presence:sync", truth.whole()) {
            self.shown = truth.held_back.iter().map(|conn| (conn.clone(), None)).collect();
        } else {
            took = false;
        }
        self.shown.compare(truth.roster);
        if took {
            self.behind_since = None;
        } else {
            self.fall_behind();
        }
    }
}

/// What a member was shown of connections of which the roster says something else; nothing, if it was never shown one.
/// Everywhere else it was shown what the roster says.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "8 bytes instead of 48 for every idle connection")]
pub(super) struct Shown(Option<Box<HashMap<ConnId, Option<Known>>>>);

impl Shown {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn get(&self, conn: &ConnId) -> Option<Option<&Known>> {
        self.0.as_ref()?.get(conn).map(Option::as_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ConnId, Option<&Known>)> {
        self.0.iter().flat_map(|shown| shown.iter()).map(|(conn, known)| (conn, known.as_ref()))
    }

    /// It is shown something that is not what the roster says, or was not.
    pub(super) fn set(&mut self, conn: &ConnId, known: Option<&Known>) {
        self.0.get_or_insert_default().insert(conn.clone(), known.cloned());
    }

    /// The roster says something new of `conn`, before which it said `before`, and it was not told.
    pub(super) fn note(&mut self, conn: &ConnId, before: Option<&Known>) {
        self.0.get_or_insert_default().entry(conn.clone()).or_insert_with(|| before.cloned());
    }

    /// It was shown what the roster says.
    pub(super) fn forget(&mut self, conn: &ConnId) {
        if let Some(shown) = &mut self.0
            && shown.remove(conn).is_some()
            && shown.is_empty()
        {
            self.0 = None;
        }
    }

    /// Forgets what the roster says as well.
    pub(super) fn compare(&mut self, roster: &Roster) {
        if let Some(shown) = &mut self.0 {
            shown.retain(|conn, known| known.as_ref() != roster.get(conn.as_str()));
            if shown.is_empty() {
                self.0 = None;
            }
        }
    }

    /// The same for one connection.
    pub(super) fn compare_one(&mut self, conn: &ConnId, known: Option<&Known>) {
        if self.get(conn) == Some(known) {
            self.forget(conn);
        }
    }
}

impl FromIterator<(ConnId, Option<Known>)> for Shown {
    fn from_iter<I: IntoIterator<Item = (ConnId, Option<Known>)>>(shown: I) -> Self {
        let shown: HashMap<_, _> = shown.into_iter().collect();
        Self((!shown.is_empty()).then(|| Box::new(shown)))
    }
}
