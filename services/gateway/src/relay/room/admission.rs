//! Who joins a room here, and who leaves it.

use protocol::{
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
    /// A join is under way: what the room says from now on is kept for it.
    pub(in crate::relay) fn join_began(&mut self) -> Join {
        self.joins.begin(self.position().map_or(0, |at| at.token))
    }

    /// A join under way ended, one way or the other.
    pub(in crate::relay) fn join_ended(&mut self, join: Join) {
        self.joins.end(join);
    }

    /// Someone left.
    pub(in crate::relay) fn exit(&mut self, conn: &ConnId) {
        self.subscribers.remove(conn);
    }

    /// Holds events back from a member that joins again.
    pub(in crate::relay) fn hold(&mut self, conn: &ConnId) {
        if let Some(subscriber) = self.subscribers.get_mut(conn) {
            subscriber.held = true;
        }
    }

    /// A member could not join again: it goes on from a snapshot.
    pub(in crate::relay) fn release(&mut self, conn: &ConnId) {
        if let Some(subscriber) = self.subscribers.get_mut(conn) {
            subscriber.held = false;
            subscriber.fall_behind();
        }
    }

    /// The first join was answered: the room begins where its answer stands. Answers of joins that were made together
    /// may be taken in any order, so what the room said before is kept for those that stand earlier.
    pub(in crate::relay) fn begin(&mut self, id: &RoomId, joined: &Joined, index: usize) {
        let here = joined.position(index);
        let Phase::Unknown { missed } = self.phase else { return };
        self.wanted.snapshot |= missed;
        self.roster = Roster::of(joined.seen_by(index));
        self.phase = Phase::Live(here);
        while let Some(text) = self.backlog.pop_if(|text| is_up_to(text, here)) {
            let Some(event) = RoomEvent::read(&text).filter(|event| event.at.birth == here.birth) else { continue };
            let kind = if event.kind == Kind::Restore { Kind::Join } else { event.kind };
            if self.joins.last().is_none_or(|last| last.at.token < event.at.token) {
                let conn = ConnId::from(event.conn);
                self.joins.keep(Publication::new(id, &event, kind, conn, Known::after(&event)));
            }
        }
    }

    /// Makes a member of who was answered, and sends what came since. If something is missing, a snapshot is wanted.
    pub(in crate::relay) fn admit(&mut self, id: &RoomId, conn: &ConnId, sink: S, joined: &Joined, index: usize) {
        let at = joined.position(index);
        let here = self.position().unwrap_or_default();
        // An answer may be taken after events that it does not know; some of them may be kept nowhere.
        let (count, leads_here) = self.joins.since(at, here);
        let misses_some = here.token > at.token && !leads_here;
        let has_all = here.birth == at.birth && count == here.seq.saturating_sub(at.seq);
        // An answer of an earlier life of the room, or of another history: Redis has lost it since.
        let forked = here.birth > at.birth || contradict(here, at) || (misses_some && has_all);
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
        // An answer of a room that began anew may be here before the room has said so.
        let complete = !new.is_behind() && here.birth == at.birth;
        self.subscribers.insert(conn.clone(), new);
        let fits = self.is_repairing() || self.apply_backlog(id);
        self.wanted.snapshot |= !(complete && fits);
    }
}

fn is_up_to(text: &str, here: protocol::Position) -> bool {
    RoomEvent::read(text).is_none_or(|event| event.at.token <= here.token)
}
