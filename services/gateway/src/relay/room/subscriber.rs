//! One member here: its position, what it was shown, and whether it is behind.

use std::{collections::HashMap, time::Instant};

use rollcall_protocol::{
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

/// The members here, by connection.
pub(super) type Subscribers<S> = HashMap<ConnId, Subscriber<S>>;

/// A member here. Every idle connection has one, so what is seldom needed is boxed.
pub(super) struct Subscriber<S> {
    pub(super) sink: S,
    /// The position of its answer, or of the last event that it was sent.
    pub(super) at: Position,
    /// It joins again, and events wait until it has its answer.
    pub(super) held: bool,
    /// The room recovers and the member has not been sent the full roster since: it is not sent records that are restored
    /// unchanged, and is sent everything else marked as part of a resync.
    pub(super) settling: bool,
    /// Its answer is, or may be, of a history that Redis has lost since, and it was not brought up to date yet.
    pub(super) forked: bool,
    /// Since when it is behind: it had no room for an event. A resync brings it up to date.
    pub(super) behind_since: Option<Instant>,
    /// Where what it was shown differs from the roster.
    pub(super) shown: Shown,
    /// Since when it lacks changes of channels or locks: it had no room for one. A sync sends it the full state.
    pub(super) lacking_since: Option<Instant>,
    /// It had no room for a part of the sync either.
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

    /// Whether it has to be sent the full state of channels and locks.
    pub(super) fn lacks_channels(&self) -> bool {
        self.lacking_since.is_some()
    }

    /// Whether the member has to be sent the full state of the channels, and has taken all of it so far.
    pub(super) fn takes_sync(&self) -> bool {
        self.lacks_channels() && !self.lacks_some
    }

    /// Sends a change of a channel or a lock, unless the member lacks an earlier one.
    pub(super) fn send_change(&mut self, event: &str, message: &RawValue) {
        if !self.lacks_channels() && !self.sink.emit(event, message) {
            self.lacking_since = Some(Instant::now());
        }
    }

    /// Sends a part of a sync.
    pub(super) fn send_sync(&mut self, event: &str, message: &RawValue) {
        if self.lacks_some || !self.sink.emit(event, message) {
            self.lacks_some = true;
            self.lacking_since.get_or_insert_with(Instant::now);
        }
    }

    /// A sync has ended; `all_since` is when it began, if it had all channels and locks. Returns whether the member lacks nothing.
    pub(super) fn took_sync(&mut self, all_since: Option<Instant>) -> bool {
        let took = !std::mem::take(&mut self.lacks_some);
        let lacked_before = |since: Instant| self.lacking_since.is_some_and(|lacking| lacking <= since);
        if took && all_since.is_some_and(lacked_before) {
            self.lacking_since = None;
        }
        !self.lacks_channels()
    }

    /// Sends an event of the room, unless the member's answer is newer. `lacks`: the member was not shown the connection. Returns
    /// whether it was sent.
    pub(super) fn send(&mut self, publication: &Publication, lacks: bool) -> bool {
        let at = publication.at;
        if !self.may_send(at) {
            return false;
        }
        if (at.generation, at.seq) != (self.at.generation, self.at.seq + 1) {
            // The events do not continue its answer, which is of a history that Redis has lost since.
            self.forked = true;
            self.fall_behind();
            return false;
        }
        self.sent(at, |sink| publication.send(sink, lacks))
    }

    /// As [`send`](Self::send), while the room recovers. `before` is what the roster had of `conn` before the event.
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
        // The member was never shown the connection that left, or was sent no leave of the one that is restored.
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

    /// Whether it was shown a connection of a user other than `conn`.
    fn was_shown_other(&self, user: &str, conn: &ConnId, roster: &Roster) -> bool {
        let of_user = |other: &ConnId, known: &Known| known.user.as_str() == user && other != conn;
        self.shown.iter().any(|(other, known)| known.is_some_and(|known| of_user(other, known)))
            || roster.iter().any(|(other, known)| of_user(other, known) && self.shown.get(other).is_none())
    }

    /// Sends the member what it missed, as events, and then the full roster, unless it is `later` than the snapshot or joins again.
    /// What there is no room for, or no turn, it lacks. Returns whether it took a part and lacks the rest.
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
        // A room that Redis does not have starts over with the members that are restored; the full roster is sent then.
        let exists = resync.at.generation > 0;
        self.settling = !resync.held_back.is_empty() || !exists;
        // The full roster shows all members; without it, members that are held back stay hidden from those that never saw them.
        // Connections that only this member was shown are not in it, and may still be restored.
        let knows =
            |conn: &ConnId| self.shown.get(conn).flatten().is_some() && resync.roster.get(conn.as_str()).is_none();
        let gets_sync = !self.settling || (exists && behind && !resync.held_back.iter().any(knows));
        let (mut took, mut sent) = (true, Vec::new());
        let mut send = |change: &Publication| {
            took = resync.turn.send(change.bytes(), || change.send(&self.sink, false));
            if took {
                sent.push((change.conn.clone(), change.after.clone()));
            }
            took
        };
        if is_usual {
            let _ = resync.changes().iter().all(send);
        } else {
            resync.changes_for(&self.shown, !gets_sync, |change| send(&change));
        }
        let took_some = !sent.is_empty();
        sent.iter().for_each(|(conn, after)| self.shown.set(conn, after.as_ref()));
        self.at = resync.at;
        if gets_sync {
            took = took && !resync.turn.is_over() && {
                let sync = resync.sync_message();
                resync.turn.send(sync.get().len(), || self.sink.emit("presence:sync", sync))
            };
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
