//! One member's place in a room: where it stands, what it was shown, and whether it waits for something.

use std::{collections::HashMap, time::Instant};

use protocol::{
    ConnId, Position,
    event::{Kind, RoomEvent},
};
use serde_json::value::RawValue;

use super::{
    publication::{Marked, Publication},
    resync::Resync,
    roster::{Known, Roster},
    shown::Shown,
    sink::Sink,
};

/// The members here, by their connections.
pub(super) type Subscribers<S> = HashMap<ConnId, Subscriber<S>>;

/// See the module. Every idle connection has one: what is seldom needed is boxed.
pub(super) struct Subscriber<S> {
    pub(super) sink: S,
    /// By its answer or by what it was sent.
    pub(super) at: Position,
    /// It joins again: its answer comes first.
    pub(super) held: bool,
    /// The room recovers and it has not been sent the whole since: it is not told what is restored unchanged, and receives
    /// everything else marked as a part of the repair.
    pub(super) settling: bool,
    /// Its answer is, or may be, of a history that Redis has lost since, and it was not brought up to date yet.
    pub(super) forked: bool,
    /// It did not take an event, since when; a snapshot brings it up to date.
    pub(super) behind_since: Option<Instant>,
    /// Where what it was shown is not what the roster says.
    pub(super) shown: Shown,
    /// It did not take a change of a channel, since when; it is told the whole.
    pub(super) lacking_since: Option<Instant>,
    /// It did not take all of the whole either.
    lacks_some: bool,
}

impl<S: Sink> Subscriber<S> {
    pub(super) fn new(sink: S, at: Position, shown: Shown) -> Self {
        Self {
            sink,
            at,
            held: false,
            settling: false,
            forked: false,
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

    /// Whether it has to be sent the whole of the channels.
    pub(super) fn lacks_channels(&self) -> bool {
        self.lacking_since.is_some()
    }

    /// Sends it a change of a channel or a lock, unless it lacks one before that.
    pub(super) fn send_change(&mut self, event: &str, message: &RawValue) {
        if !self.lacks_channels() && !self.sink.emit(event, message) {
            self.lacking_since = Some(Instant::now());
        }
    }

    /// Sends it a part of the whole of the channels.
    pub(super) fn send_sync(&mut self, event: &str, message: &RawValue) {
        if self.lacks_some || !self.sink.emit(event, message) {
            self.lacks_some = true;
            self.lacking_since.get_or_insert_with(Instant::now);
        }
    }

    /// It was sent what was fetched: all of the channels, if they were asked for at `all_since`. Says whether it lacks nothing.
    pub(super) fn took_sync(&mut self, all_since: Option<Instant>) -> bool {
        let took = !std::mem::take(&mut self.lacks_some);
        let lacked_before = |since: Instant| self.lacking_since.is_some_and(|lacking| lacking <= since);
        if took && all_since.is_some_and(lacked_before) {
            self.lacking_since = None;
        }
        !self.lacks_channels()
    }

    /// Sends an event of the room, unless its answer knows of it; `lacks` says that it was not shown the connection. Says
    /// whether it was sent.
    pub(super) fn send(&mut self, publication: &Publication, lacks: bool) -> bool {
        let at = publication.at;
        if !self.may_send(at) {
            return false;
        }
        if (at.birth, at.seq) != (self.at.birth, self.at.seq + 1) {
            // Its answer came before what was heard, and is of a history that Redis has lost since.
            self.forked = true;
            self.fall_behind();
            return false;
        }
        self.sent(at, |sink| publication.send(sink, lacks))
    }

    /// The same while the room recovers: `conn` was `before`, and the roster has what the event says.
    pub(super) fn send_marked(
        &mut self,
        marked: &mut Marked<'_>,
        event: &RoomEvent<'_>,
        conn: &ConnId,
        before: Option<&Known>,
        roster: &Roster,
    ) -> bool {
        let shown = self.shown.get(conn).unwrap_or(before);
        let kind = match (event.kind, shown) {
            (Kind::Leave, _) => Kind::Leave,
            (_, Some(_)) => Kind::Update,
            (_, None) => Kind::Join,
        };
        // It was never shown who is gone, or never missed who is back.
        let knows = match kind {
            Kind::Leave => shown.is_none(),
            _ => event.kind == Kind::Restore && shown.is_some_and(|known| known.is(event)),
        };
        if knows || !self.may_send(event.at) {
            return false;
        }
        let edge = kind != Kind::Update && !self.was_shown_other(event.user, conn, roster);
        self.sent(event.at, |sink| sink.emit("presence:event", marked.message(kind, edge)))
    }

    fn may_send(&self, at: Position) -> bool {
        at.token > self.at.token && !self.held && !self.is_behind()
    }

    fn sent(&mut self, at: Position, send: impl FnOnce(&S) -> bool) -> bool {
        let sent = send(&self.sink);
        if sent {
            self.at = at;
        } else {
            self.fall_behind();
        }
        sent
    }

    /// Whether it was shown another connection of a user than `conn`.
    fn was_shown_other(&self, user: &str, conn: &ConnId, roster: &Roster) -> bool {
        let of_user = |other: &ConnId, known: &Known| known.user.as_str() == user && other != conn;
        self.shown.iter().any(|(other, known)| known.is_some_and(|known| of_user(other, known)))
            || roster.iter().any(|(other, known)| of_user(other, known) && self.shown.get(other).is_none())
    }

    /// Takes the roster that a snapshot gave, and tells it what it missed, as events, and then the whole; unless it is
    /// `later` than the snapshot, or joins again. Says whether it took something and has no room for the rest yet.
    pub(super) fn bring_up_to_date(&mut self, resync: &Resync<'_>, later: bool) -> bool {
        let is_usual = self.shown.is_empty();
        resync.before.iter().for_each(|(conn, was)| self.shown.missed(conn, was));
        self.shown.compare(resync.roster);
        let behind = self.is_behind();
        if self.held || later {
            return false;
        }
        let is_settled = self.settling && resync.held_back.is_empty();
        if !resync.everyone && !behind && !is_settled {
            self.forked = false;
            return false;
        }
        // A room that Redis does not have begins again with the members that are restored; the whole is sent then.
        let exists = resync.at.birth > 0;
        self.settling = !resync.held_back.is_empty() || !exists;
        // The whole shows everyone; without it, members who are held back stay hidden from those who never saw them.
        // Those whom only it was shown are not in it, and may be restored yet.
        let knows =
            |conn: &ConnId| self.shown.get(conn).flatten().is_some() && resync.roster.get(conn.as_str()).is_none();
        let gets_whole = !self.settling || (exists && behind && !resync.held_back.iter().any(knows));
        let (mut took, mut sent) = (true, Vec::new());
        let mut send = |change: &Publication| {
            took = change.send(&self.sink, false);
            if took {
                sent.push((change.conn.clone(), change.after.clone()));
            }
            took
        };
        if is_usual {
            let _ = resync.changes().iter().all(send);
        } else {
            resync.changes_for(&self.shown, !gets_whole, |change| send(&change));
        }
        let took_some = !sent.is_empty();
        sent.iter().for_each(|(conn, after)| self.shown.set(conn, after.as_ref()));
        self.at = resync.at;
        if gets_whole {
            took = took && self.sink.emit("presence:sync", resync.whole());
            if took {
                self.shown = Shown::default();
            }
        }
        self.shown.compare(resync.roster);
        if took {
            (self.behind_since, self.forked) = (None, false);
        } else {
            self.fall_behind();
        }
        took_some && !took
    }
}
