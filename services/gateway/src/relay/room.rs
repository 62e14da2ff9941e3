//! One room as its members here know it: the position in its events, the roster, the seats. Events are applied in `seq`
//! order or not at all; what does not fit waits for a repair. No I/O but the sends to sockets' queues.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use protocol::{
    ConnId, RoomId,
    command::Joined,
    event::{Kind, Reason, RoomEvent},
};

use super::{
    locks::Locks,
    metadata::Channels,
    publication::Publication,
    roster::{Known, Roster},
    seat::{Seat, Sink},
};

/// Events that are kept for joins and repairs under way; beyond it a snapshot takes their place.
const KEPT: usize = 16_384;

/// A place in a room's events. A later life of the room is after every place of an earlier one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) birth: u64,
    pub(super) seq: u64,
}

impl Position {
    pub(super) fn of(event: &RoomEvent<'_>) -> Self {
        Self { birth: event.birth, seq: event.seq }
    }

    fn is_next(self, at: Self) -> bool {
        at.birth == self.birth && at.seq == self.seq + 1
    }
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
    /// Somebody did not take an event since this was last looked at.
    fell_behind: bool,
    /// A snapshot is being fetched.
    pub(super) repairing: bool,
    /// Something else went missing meanwhile.
    pub(super) repair_again: bool,
    /// What members were told of the channels of the room's name.
    pub(super) channels: Channels,
    pub(super) locks: Locks,
    /// The room began anew; until then its connections have time to come back.
    pub(super) settles_at: Option<Instant>,
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
            fell_behind: false,
            repairing: false,
            repair_again: false,
            channels: Channels::default(),
            locks: Locks::default(),
            settles_at: None,
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

    /// Forgets what the room said; the next join begins anew.
    pub(super) fn forget(&mut self) {
        self.position = None;
        self.roster = Roster::default();
        self.waiting = VecDeque::new();
        self.recent = VecDeque::new();
        self.settles_at = None;
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

    /// Whether somebody did not take an event since this was last asked.
    pub(super) fn take_fell_behind(&mut self) -> bool {
        std::mem::take(&mut self.fell_behind)
    }

    /// The room said something.
    pub(super) fn hear(&mut self, id: &RoomId, text: &str, event: &RoomEvent<'_>) -> Heard {
        let Some(position) = self.position.filter(|_| !self.repairing) else {
            self.keep(text);
            return Heard::Kept;
        };
        let at = Position::of(event);
        if at <= position {
            return Heard::Kept;
        }
        if position.is_next(at) {
            self.apply(id, event);
            return Heard::Delivered;
        }
        if self.is_idle() {
            self.forget();
            return Heard::Kept;
        }
        self.keep(text);
        Heard::Gap
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
        self.position = Some(Position::of(event));
        let (conn, after) = (ConnId::from(event.conn), Known::after(event));
        let before = self.roster.take(&conn, after.as_ref());
        let kind = match event.kind {
            Kind::Restore if before.is_some() => Kind::Update,
            Kind::Restore => Kind::Join,
            kind => kind,
        };
        // Data came back that those who settle never missed.
        let absorbed = event.kind == Kind::Restore && before.as_ref().is_some_and(|known| known.is(event));
        if kind == Kind::Leave {
            match (event.reason, self.seats.get(event.conn)) {
                (_, Some(seat)) if seat.at >= Position::of(event) => {} // It has joined again since.
                (Some(Reason::Expired | Reason::NodeLost), Some(seat)) => seat.sink.evicted(),
                // Who asked for it is told by its answer, and hears nothing of the room after it.
                _ => drop(self.seats.remove(event.conn)),
            }
        }
        let mut publication = Publication::new(id, event, kind, conn.clone(), after);
        // Who joined while Redis had lost others was not shown them, and is told that they join when they are back.
        if kind == Kind::Update
            && (event.kind == Kind::Restore || self.seats.values().any(|s| s.shown.get(&conn) == Some(None)))
        {
            publication = publication.with_join(id, event);
        }
        for seat in self.seats.values_mut() {
            let was_behind = seat.is_behind();
            let lacks = seat.shown.get(&conn) == Some(None);
            let is_known = absorbed && seat.settling && !lacks;
            if !is_known && seat.send(&publication, lacks) {
                seat.shown.forget(&conn);
            } else {
                seat.shown.note(&conn, before.as_ref());
                seat.shown.compare_one(&conn, publication.after.as_ref());
            }
            self.fell_behind |= !was_behind && seat.is_behind();
        }
        if self.joining > 0 {
            if self.recent.len() >= KEPT {
                self.recent.pop_front();
            }
            self.recent.push_back(publication);
        }
    }

    /// The room goes on at `at` from a snapshot: what it said between is nowhere.
    pub(super) fn jump(&mut self, at: Position) {
        self.position = Some(at);
        self.recent = VecDeque::new();
    }

    /// The first join was answered: the room begins where its answer stands. Answers of joins that were made together
    /// may be taken in any order, so what the room said before is kept for those that stand earlier.
    pub(super) fn begin(&mut self, id: &RoomId, joined: &Joined, index: usize) {
        let here = Position { birth: joined.birth, seq: joined.joins[index].seq };
        if self.position.is_some() {
            return;
        }
        self.roster = Roster::of(joined.seen_by(index));
        self.position = Some(here);
        while let Some(text) = self.waiting.pop_front_if(|text| is_up_to(text, here)) {
            let Some(event) = RoomEvent::read(&text).filter(|event| event.birth == here.birth) else { continue };
            let kind = if event.kind == Kind::Restore { Kind::Join } else { event.kind };
            if self.recent.back().is_none_or(|last| last.at < Position::of(&event)) {
                let conn = ConnId::from(event.conn);
                self.recent.push_back(Publication::new(id, &event, kind, conn, Known::after(&event)));
            }
        }
    }

    /// Seats who has been answered, and sends what came since; says whether nothing is missing.
    pub(super) fn seat(&mut self, id: &RoomId, conn: &ConnId, sink: S, joined: &Joined, index: usize) -> bool {
        let at = Position { birth: joined.birth, seq: joined.joins[index].seq };
        let here = self.position.unwrap_or_default();
        // An answer may be taken after events that it does not know; some of them may be kept nowhere.
        let since = self.recent.iter().filter(|publication| publication.at > at && publication.at.birth == at.birth);
        let missed = here.birth > at.birth || (here > at && since.count() as u64 != here.seq - at.seq);
        let mut seat = Seat::new(sink, at, self.roster.unlike(joined.seen_by(index)));
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
        complete && (self.repairing || self.catch_up(id)) && !self.take_fell_behind()
    }

    /// Applies what waited; says whether it fits.
    pub(super) fn catch_up(&mut self, id: &RoomId) -> bool {
        self.catch_up_to(id, Position { birth: u64::MAX, seq: 0 })
    }

    /// Applies what waited, up to `limit`.
    pub(super) fn catch_up_to(&mut self, id: &RoomId, limit: Position) -> bool {
        while let (Some(position), Some(text)) = (self.position, self.waiting.pop_front()) {
            let Some(event) = RoomEvent::read(&text) else { continue };
            let at = Position::of(&event);
            if at <= limit && position.is_next(at) {
                self.apply(id, &event);
            } else if at > position {
                self.waiting.push_front(text);
                return false;
            }
        }
        // A room at rest keeps no space for what might wait.
        self.waiting = VecDeque::new();
        true
    }
}

fn is_up_to(text: &str, here: Position) -> bool {
    RoomEvent::read(text).is_none_or(|event| Position::of(&event) <= here)
}
