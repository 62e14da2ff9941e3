//! One room as its members here know it: the position in its events, the roster, the seats. Events are applied in `seq`
//! order or not at all; what does not fit waits for a repair. No I/O but the sends to sockets' queues.

use std::collections::{HashMap, VecDeque};

use protocol::{
    ConnId, Position, RoomId,
    command::Joined,
    event::{Kind, RoomEvent},
};

use super::{
    locks::Locks,
    metadata::Channels,
    publication::{Marked, Publication},
    reconcile::Recovery,
    roster::{Known, Roster},
    seat::{Seat, Sink},
};

/// Events that are kept for joins and repairs under way; beyond it a snapshot takes their place.
const KEPT: usize = 16_384;

/// Where an event stands, as seen from a position.
enum Place {
    /// It is the next one.
    Next,
    /// It is an earlier one, or the one that the position is of.
    Known,
    /// Something is missing before it, or it is of another history: Redis came back with older data and went on from there.
    Apart {
        /// Nothing is missing and it is later in time, so it is certainly of another history.
        forked: bool,
    },
}

impl Place {
    fn of(event: &RoomEvent<'_>, here: Position) -> Self {
        let at = event.at;
        let is_earlier = (at.birth, at.seq) <= (here.birth, here.seq);
        let follows = at.birth == here.birth && at.seq == here.seq + 1;
        if follows && event.previous_token == here.token {
            Place::Next
        } else if is_earlier && at.token <= here.token {
            Place::Known
        } else {
            Place::Apart { forked: (is_earlier || follows) && at.token > here.token }
        }
    }
}

/// Whether two positions cannot be of one history: in time one is the later one, by their numbers it is not.
pub(super) fn contradict(one: Position, other: Position) -> bool {
    (one.birth, one.seq).cmp(&(other.birth, other.seq)) != one.token.cmp(&other.token)
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It was the next one.
    Delivered,
    /// It waits, or it was known.
    Kept,
    /// Something is missing before it.
    Gap,
}

/// See the module.
pub(super) struct State<S> {
    /// Where the roster stands; none before the first join was answered.
    pub(super) position: Option<Position>,
    pub(super) roster: Roster,
    pub(super) seats: HashMap<ConnId, Seat<S>>,
    /// Joins under way.
    joining: usize,
    /// Events applied while joins are under way, for those who join before them.
    recent: VecDeque<Publication>,
    /// Events that cannot be applied yet, as they came.
    waiting: VecDeque<String>,
    /// How many events ever waited.
    kept: u64,
    /// A snapshot is needed since this was last looked at: somebody did not take an event, or the last member that the room
    /// waited for was restored.
    needs_snapshot: bool,
    /// An event of another history was heard since the last snapshot.
    pub(super) forked: bool,
    /// A snapshot is being fetched.
    pub(super) repairing: bool,
    /// Something else went missing meanwhile.
    pub(super) repair_again: bool,
    /// Somebody reads, and took some of what it had missed, and there is more.
    pub(super) reads_on: bool,
    /// What members were told of the channels of the room's name.
    pub(super) channels: Channels,
    pub(super) locks: Locks,
    /// Redis may have lost what it said before: its members have time to be restored.
    pub(super) recovery: Option<Recovery>,
}

impl<S> Default for State<S> {
    fn default() -> Self {
        Self {
            position: None,
            roster: Roster::default(),
            seats: HashMap::new(),
            joining: 0,
            recent: VecDeque::new(),
            waiting: VecDeque::new(),
            kept: 0,
            needs_snapshot: false,
            forked: false,
            repairing: false,
            repair_again: false,
            reads_on: false,
            channels: Channels::default(),
            locks: Locks::default(),
            recovery: None,
        }
    }
}

impl<S: Sink> State<S> {
    /// Whether nobody here is in the room or about to be.
    pub(super) fn is_idle(&self) -> bool {
        self.seats.is_empty() && self.joining == 0
    }

    /// Whether there is anything to repair: before the first answer there is not.
    pub(super) fn has_begun(&self) -> bool {
        self.position.is_some()
    }

    /// Whether a join is under way.
    pub(super) fn is_joining(&self) -> bool {
        self.joining > 0
    }

    /// Forgets what the room said; the next join begins anew.
    pub(super) fn forget(&mut self) {
        self.position = None;
        self.roster = Roster::default();
        self.waiting = VecDeque::new();
        self.recent = VecDeque::new();
        (self.recovery, self.forked) = (None, false);
        self.forget_metadata();
    }

    /// A join is under way.
    pub(super) fn join_began(&mut self) {
        self.joining += 1;
    }

    /// A join under way ended, one way or the other.
    pub(super) fn join_ended(&mut self) {
        self.joining -= 1;
        if self.joining == 0 {
            self.recent = VecDeque::new();
        }
    }

    /// Somebody left.
    pub(super) fn exit(&mut self, conn: &ConnId) {
        self.seats.remove(conn);
    }

    /// Holds events back from a member that joins again.
    pub(super) fn hold(&mut self, conn: &ConnId) {
        if let Some(seat) = self.seats.get_mut(conn) {
            seat.held = true;
        }
    }

    /// A member could not join again: it goes on from a snapshot.
    pub(super) fn release(&mut self, conn: &ConnId) {
        if let Some(seat) = self.seats.get_mut(conn) {
            seat.held = false;
            seat.fall_behind();
        }
    }

    /// Whether a snapshot became necessary since this was last asked.
    pub(super) fn take_needs_snapshot(&mut self) -> bool {
        std::mem::take(&mut self.needs_snapshot)
    }

    /// The room said something.
    pub(super) fn hear(&mut self, id: &RoomId, text: &str, event: &RoomEvent<'_>) -> Heard {
        let Some(position) = self.position.filter(|_| !self.repairing) else {
            self.keep(text);
            return Heard::Kept;
        };
        match Place::of(event, position) {
            Place::Known => Heard::Kept,
            Place::Next => {
                self.apply(id, event);
                Heard::Delivered
            }
            Place::Apart { .. } if self.is_idle() => {
                self.forget();
                Heard::Kept
            }
            Place::Apart { forked } => {
                self.forked |= forked;
                self.keep(text);
                Heard::Gap
            }
        }
    }

    fn keep(&mut self, text: &str) {
        if self.is_idle() {
            return;
        }
        if self.waiting.len() >= KEPT {
            self.waiting.pop_front();
        }
        self.waiting.push_back(text.to_owned());
        self.kept += 1;
    }

    /// How far the room has been heard; a snapshot that is fetched from here on knows all of it.
    pub(super) fn heard(&self) -> u64 {
        self.kept
    }

    /// Drops what waited since before a snapshot was fetched and does not fit it: the room's life that it was of is over.
    pub(super) fn drop_heard(&mut self, heard: u64) {
        let later = usize::try_from(self.kept.saturating_sub(heard)).unwrap_or(usize::MAX);
        let outdated = self.waiting.len().saturating_sub(later);
        self.waiting.drain(..outdated);
    }

    fn apply(&mut self, id: &RoomId, event: &RoomEvent<'_>) {
        if self.is_told(event) {
            // The event counts and is not passed on, so members go on from a snapshot.
            self.position = Some(event.at);
            self.seats.values_mut().for_each(Seat::fall_behind);
            self.needs_snapshot = true;
            return;
        }
        // What Redis came back with is older than what its gateway will restore. The event counts, and says what is known.
        let is_newer = |known: &&Known| event.kind != Kind::Leave && known.age() > (event.epoch, event.op);
        let known = self.roster.get(event.conn).filter(|_| self.recovery.is_some()).filter(is_newer).cloned();
        if let Some(Known { epoch, op, state, .. }) = &known
            && let Ok(state) = serde_json::from_str(state)
        {
            return self.apply_current(id, &RoomEvent { epoch: *epoch, op: *op, state, ..*event });
        }
        let was_last = self.recovery.as_mut().is_some_and(|recovery| recovery.hear(event.conn));
        self.needs_snapshot |= was_last;
        self.apply_current(id, event);
    }

    /// Whether it is the leave of a connection whose first leave Redis lost: its record came back, was kept out, and is removed.
    fn is_told(&self, event: &RoomEvent<'_>) -> bool {
        let conn = ConnId::from(event.conn);
        let was_shown = |seat: &Seat<S>| seat.shown.get(&conn).flatten().is_some();
        event.kind == Kind::Leave
            && self.recovery.as_ref().is_some_and(|recovery| recovery.keeps_out)
            && self.roster.get(event.conn).is_none()
            && !self.seats.values().any(was_shown)
    }

    fn apply_current(&mut self, id: &RoomId, event: &RoomEvent<'_>) {
        self.position = Some(event.at);
        let (conn, after) = (ConnId::from(event.conn), Known::after(event));
        let before = self.roster.take(&conn, after.as_ref());
        if event.kind == Kind::Leave
            && let Some(seat) = self.seats.get(event.conn).filter(|seat| seat.at.token < event.at.token)
        {
            // It did not ask for this: its seat is taken away before its leave is sent.
            seat.sink.evicted(event.op);
        }
        // A record that was rolled back may leave before it is restored; its epoch must not go back.
        let known_epoch = before.as_ref().filter(|_| event.kind == Kind::Leave).map_or(0, |known| known.epoch);
        let mut event = RoomEvent { epoch: event.epoch.max(known_epoch), ..*event };
        // The answer with which the room began here left it out, for its gateway seemed to be gone.
        if event.kind == Kind::Update && before.is_none() {
            event.kind = Kind::Join;
            event.user_edge =
                !self.roster.iter().any(|(other, known)| known.user.as_str() == event.user && *other != conn);
        }
        let event = &event;
        let publication = self.publication(id, event, &conn, before.as_ref(), after);
        let mut marked = Marked::new(id, event);
        for seat in self.seats.values_mut() {
            let (was_behind, was_forked) = (seat.is_behind(), seat.forked);
            let sent = if seat.settling {
                seat.send_marked(&mut marked, event, &conn, before.as_ref(), &self.roster)
            } else {
                seat.send(&publication, seat.shown.get(&conn) == Some(None))
            };
            if sent {
                seat.shown.forget(&conn);
            } else {
                seat.shown.note(&conn, before.as_ref());
                seat.shown.compare_one(&conn, publication.after.as_ref());
            }
            self.needs_snapshot |= !was_behind && seat.is_behind();
            self.forked |= seat.forked && !was_forked;
        }
        if self.joining > 0 {
            if self.recent.len() >= KEPT {
                self.recent.pop_front();
            }
            self.recent.push_back(publication);
        }
    }

    /// The event as members receive it, before which the roster said `before` of its connection. What Redis calls a join, or
    /// has put back, is an update for those who knew the connection all the time.
    fn publication(
        &self,
        id: &RoomId,
        event: &RoomEvent<'_>,
        conn: &ConnId,
        before: Option<&Known>,
        after: Option<Known>,
    ) -> Publication {
        let is_known = before.is_some_and(|known| known.user.as_str() == event.user);
        let kind = match event.kind {
            Kind::Join | Kind::Restore if is_known => Kind::Update,
            Kind::Join | Kind::Restore => Kind::Join,
            kind => kind,
        };
        let publication = Publication::new(id, event, kind, conn.clone(), after);
        // Who joined while Redis had lost others was not shown them, and is told that they join when they are restored.
        let lacks = |seat: &Seat<S>| seat.shown.get(conn) == Some(None);
        if kind == Kind::Update && (event.kind != Kind::Update || self.seats.values().any(lacks)) {
            return publication.with_join(id, event);
        }
        publication
    }

    /// The room goes on at `at` from a snapshot: what it said between is nowhere.
    pub(super) fn jump(&mut self, at: Position) {
        self.position = Some(at);
        self.recent = VecDeque::new();
    }

    /// The first join was answered: the room begins where its answer stands. Answers of joins that were made together
    /// may be taken in any order, so what the room said before is kept for those that stand earlier.
    pub(super) fn begin(&mut self, id: &RoomId, joined: &Joined, index: usize) {
        let here = joined.position(index);
        if self.position.is_some() {
            return;
        }
        self.roster = Roster::of(joined.seen_by(index));
        self.position = Some(here);
        while let Some(text) = self.waiting.pop_front_if(|text| is_up_to(text, here)) {
            let Some(event) = RoomEvent::read(&text).filter(|event| event.at.birth == here.birth) else { continue };
            let kind = if event.kind == Kind::Restore { Kind::Join } else { event.kind };
            if self.recent.back().is_none_or(|last| last.at.token < event.at.token) {
                let conn = ConnId::from(event.conn);
                self.recent.push_back(Publication::new(id, &event, kind, conn, Known::after(&event)));
            }
        }
    }

    /// Seats who has been answered, and sends what came since; says whether nothing is missing.
    pub(super) fn seat(&mut self, id: &RoomId, conn: &ConnId, sink: S, joined: &Joined, index: usize) -> bool {
        let at = joined.position(index);
        let here = self.position.unwrap_or_default();
        // An answer may be taken after events that it does not know; some of them may be kept nowhere.
        let since = || self.recent.iter().filter(|publication| publication.at.token > at.token);
        let follow = |token: u64, next: &Publication| (next.previous_token == token).then_some(next.at.token);
        let misses_some = here.token > at.token && since().try_fold(at.token, follow) != Some(here.token);
        let has_all = here.birth == at.birth && since().count() as u64 == here.seq.saturating_sub(at.seq);
        // An answer of an earlier life of the room, or of another history: Redis has lost it since.
        let forked = here.birth > at.birth || contradict(here, at) || (misses_some && has_all);
        let missed = forked || misses_some;
        self.forked |= forked;
        let mut seat = Seat::new(sink, at, self.roster.unlike(joined.seen_by(index)));
        seat.forked = forked;
        if missed {
            seat.fall_behind();
        } else {
            for publication in &self.recent {
                let conn = &publication.conn;
                let known = seat.shown.get(conn).unwrap_or_else(|| self.roster.get(conn.as_str()));
                let lacks = known.is_none();
                if seat.send(publication, lacks) {
                    seat.shown.set(conn, publication.after.as_ref());
                }
            }
            seat.shown.compare(&self.roster);
        }
        // An answer of a room that began anew may be here before the room has said so.
        let complete = !seat.is_behind() && here.birth == at.birth;
        self.seats.insert(conn.clone(), seat);
        complete && (self.repairing || self.catch_up(id)) && !self.take_needs_snapshot()
    }

    /// Applies what waited; says whether it fits.
    pub(super) fn catch_up(&mut self, id: &RoomId) -> bool {
        self.catch_up_to(id, Position { birth: u64::MAX, seq: 0, token: 0 })
    }

    /// Applies what waited, up to `limit`.
    pub(super) fn catch_up_to(&mut self, id: &RoomId, limit: Position) -> bool {
        while let (Some(position), Some(text)) = (self.position, self.waiting.pop_front()) {
            let Some(event) = RoomEvent::read(&text) else { continue };
            match Place::of(&event, position) {
                Place::Next if event.at <= limit => self.apply(id, &event),
                Place::Known => {}
                place => {
                    self.forked |= matches!(place, Place::Apart { forked: true });
                    self.waiting.push_front(text);
                    return false;
                }
            }
        }
        // A room at rest keeps no space for what might wait.
        self.waiting = VecDeque::new();
        true
    }
}

fn is_up_to(text: &str, here: Position) -> bool {
    RoomEvent::read(text).is_none_or(|event| event.at.token <= here.token)
}
