//! Joins and leaves of a room's members here.

use rollcall_protocol::{
    ConnId, RoomId,
    command::Joined,
    event::{Kind, RoomEvent},
};

use super::{
    Phase, Room,
    joins::Join,
    position::contradict,
    publication::Publication,
    roster::{Known, Roster},
    shown::Shown,
    sink::Sink,
    subscriber::Subscriber,
};

impl<S: Sink> Room<S> {
    /// A join is under way: the room's events from now on are kept for it.
    pub(in crate::relay) fn join_began(&mut self) -> Join {
        self.joins.begin(self.position().map_or(0, |at| at.token))
    }

    /// A join has ended, carried out or not.
    pub(in crate::relay) fn join_ended(&mut self, join: Join) {
        self.joins.end(join);
    }

    /// Removes a member.
    pub(in crate::relay) fn exit(&mut self, conn: &ConnId) {
        self.subscribers.remove(conn);
    }

    /// Holds events back from a member that joins again.
    pub(in crate::relay) fn hold(&mut self, conn: &ConnId) {
        if let Some(subscriber) = self.subscribers.get_mut(conn) {
            subscriber.held = true;
        }
    }

    /// A member could not join again. Returns whether a snapshot has to bring it up to date: events were held back, or the join may have
    /// been carried out (`may_be_written`).
    pub(in crate::relay) fn release(&mut self, conn: &ConnId, may_be_written: bool) -> bool {
        let here = self.position();
        let Some(subscriber) = self.subscribers.get_mut(conn) else { return false };
        subscriber.held = false;
        let is_current = !may_be_written && Some(subscriber.at) == here;
        if !is_current {
            subscriber.fall_behind();
        }
        !is_current
    }

    /// The first join was answered: the room begins at the position of the answer. Answers to joins that were carried out together
    /// may be processed in any order, so earlier events are kept for answers with an earlier position.
    pub(in crate::relay) fn begin(&mut self, id: &RoomId, joined: &Joined, index: usize) {
        let here = joined.position(index);
        let Phase::Unknown { missed } = self.phase else { return };
        self.wanted.snapshot |= missed;
        self.roster = Roster::of(joined.seen_by(index));
        self.phase = Phase::Live(here);
        while let Some(text) = self.backlog.pop_if(|text| is_up_to(text, here)) {
            let Some(event) = RoomEvent::read(&text).filter(|event| event.at.generation == here.generation) else {
                continue;
            };
            let kind = if event.kind == Kind::Restore { Kind::Join } else { event.kind };
            if self.joins.last().is_none_or(|last| last.at.token < event.at.token) {
                let conn = ConnId::from(event.conn);
                self.joins.keep(Publication::new(id, &event, kind, conn, Known::after(&event, None)));
            }
        }
    }

    /// Adds a member whose join was answered, and sends it the events since. If one may be missing, a snapshot is wanted.
    pub(in crate::relay) fn admit(&mut self, id: &RoomId, conn: &ConnId, sink: S, joined: &Joined, index: usize) {
        let at = joined.position(index);
        let here = self.position().unwrap_or_default();
        // The answer may be processed after events that are newer than it; some of these may not be kept.
        let (count, leads_here) = self.joins.since(at, here);
        let misses_some = here.token > at.token && !leads_here;
        let has_all = here.generation == at.generation && count == here.seq.saturating_sub(at.seq);
        // The answer is of an earlier generation of the room, or of another history, which Redis has lost since.
        let forked = here.generation > at.generation || contradict(here, at) || (misses_some && has_all);
        let missed = forked || misses_some;
        self.forked |= forked;
        let mut new = Subscriber::new(sink, at, Shown::by_answer(joined.seen_by(index), &self.roster));
        new.forked = forked;
        if missed {
            new.fall_behind();
        } else {
            for publication in self.joins.recent() {
                let conn = &publication.conn;
                let known = new.shown.get(conn).unwrap_or_else(|| self.roster.get(conn.as_str()));
                let lacks = known.is_none();
                if new.send(publication, lacks) {
                    new.shown.set(conn, publication.after.as_ref());
                }
            }
            new.shown.compare(&self.roster);
        }
        // The answer of a room that started over may arrive before its first event.
        let complete = !new.is_behind() && here.generation == at.generation;
        self.subscribers.insert(conn.clone(), new);
        let fits = self.is_repairing() || self.apply_backlog(id);
        self.wanted.snapshot |= !(complete && fits);
    }
}

fn is_up_to(text: &str, here: rollcall_protocol::Position) -> bool {
    RoomEvent::read(text).is_none_or(|event| event.at.token <= here.token)
}
