//! One room as its members here know it: the position in its events, the roster, the seats. Events are applied in `seq`
//! order or not at all; what does not fit waits for a repair. No I/O but the sends to sockets' queues.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    ConnId, RoomId, UserId,
    client::{Member, SyncMessage},
    command::{Joined, Snapshot},
    event::{Kind, Reason, RoomEvent},
};
use serde_json::value::RawValue;

use super::publication::Publication;
use crate::socket::session::Session;

/// Events that are kept for joins and repairs under way; beyond it a snapshot takes their place.
const KEPT: usize = 16_384;
/// A room that began anew (Redis lost its data) has this long until who has not come back is gone: gateways put their
/// own connections back meanwhile.
pub(super) const SETTLING: Duration = Duration::from_secs(4);

/// A member's place among those that hear the room here.
pub(super) struct Seat {
    pub(super) session: Arc<Session>,
    /// Where it stands, by its answer or by what it was sent.
    at: Position,
    /// It joins again: its answer comes first.
    pub(super) held: bool,
    /// It did not take an event, since when; a snapshot brings it up to date.
    pub(super) behind_since: Option<Instant>,
    /// What it was not sent meanwhile, by connection, and whether it knew the connection before. Clients that know only
    /// events are told so.
    missed: HashMap<ConnId, (Known, bool)>,
    /// Who is on the roster but was not in its snapshot: Redis had lost them.
    lacks: HashSet<ConnId>,
    /// It lived through the beginning of the room's new life and has not been told the whole since: what comes back
    /// unchanged it never missed.
    settling: bool,
}

/// What members know of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    user: UserId,
    epoch: u64,
    state: Arc<str>,
}

/// A place in a room's events. A later life of the room is after every place of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) birth: u64,
    pub(super) seq: u64,
}

/// What a snapshot says, for those who may not know it.
struct Truth<'a> {
    id: &'a RoomId,
    at: Position,
    roster: &'a HashMap<ConnId, Known>,
    /// Who is in the snapshot; the roster also has those who are held back while the room settles.
    present: &'a HashSet<&'a ConnId>,
    /// How the roster changed.
    changes: &'a [Option<Publication>],
    /// Events were missed by all, not only by those who are behind.
    everyone: bool,
    /// Some of the roster are held back: whoever knew them is told the whole when they came back or are gone.
    held_back: bool,
    sync: SyncMessage<'a, &'a Vec<Member>>,
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
#[derive(Default)]
pub(super) struct State {
    /// Where the roster stands; none before the first join was answered.
    position: Option<Position>,
    roster: HashMap<ConnId, Known>,
    pub(super) seats: HashMap<ConnId, Seat>,
    /// Joins under way.
    pub(super) joining: usize,
    /// Events applied while joins are under way, for those who join before them.
    recent: VecDeque<Publication>,
    /// The last event that `recent` lost for want of room.
    recent_lost: u64,
    /// Events that cannot be applied yet, as they came.
    waiting: VecDeque<String>,
    /// How many events ever waited.
    kept: u64,
    /// Somebody did not take an event since this was last looked at.
    pub(super) fell_behind: bool,
    /// A snapshot is being fetched.
    pub(super) repairing: bool,
    /// Something else went missing meanwhile.
    pub(super) repair_again: bool,
    settles_at: Option<Instant>,
}

impl State {
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
        self.roster.clear();
        self.waiting.clear();
        self.recent.clear();
        self.settles_at = None;
    }

    /// A join under way ended, one way or the other.
    pub(super) fn joined(&mut self) {
        self.joining -= 1;
        if self.joining == 0 {
            self.recent = VecDeque::new();
            self.recent_lost = 0;
        }
    }

    /// The room said something.
    pub(super) fn hear(&mut self, id: &RoomId, text: &str, event: &RoomEvent<'_>) -> Heard {
        let Some(position) = self.position.filter(|_| !self.repairing) else {
            self.keep(text);
            return Heard::Kept;
        };
        let at = Position { birth: event.birth, seq: event.seq };
        if at <= position {
            return Heard::Kept;
        }
        if at.birth == position.birth && at.seq == position.seq + 1 {
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
            let lost = self.waiting.pop_front();
            self.recent_lost = lost.and_then(|text| Some(RoomEvent::read(&text)?.seq)).unwrap_or(u64::MAX);
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
        self.position = Some(Position { birth: event.birth, seq: event.seq });
        let known = self.roster.get(event.conn);
        let kind = match event.kind {
            Kind::Restore if known.is_some() => Kind::Update,
            Kind::Restore => Kind::Join,
            kind => kind,
        };
        // Data came back that those who settle never missed.
        let absorbed = event.kind == Kind::Restore && known.is_some_and(|known| known.is(event));
        if kind == Kind::Leave {
            self.roster.remove(event.conn);
            match (event.reason, self.seats.get(event.conn)) {
                (Some(Reason::Expired | Reason::NodeLost), Some(seat)) => seat.session.evicted(),
                // Who asked for it is told by its answer, and hears nothing of the room after it.
                _ => drop(self.seats.remove(event.conn)),
            }
        } else {
            self.roster.insert(event.conn.into(), Known::of(event));
        }
        let mut publication = Publication::new(id, event, kind, false);
        // Who joined while Redis had lost others was not shown them, and is told that they join when they are back.
        let lacked = event.kind == Kind::Restore || self.seats.values().any(|seat| seat.lacks.contains(event.conn));
        if kind == Kind::Update && lacked {
            publication = publication.with_join(id, event);
        }
        for seat in self.seats.values_mut().filter(|seat| !(absorbed && seat.settling)) {
            let was_behind = seat.behind_since.is_some();
            seat.send(&publication);
            self.fell_behind |= !was_behind && seat.behind_since.is_some();
        }
        if self.joining > 0 {
            if self.recent.len() >= KEPT
                && let Some(lost) = self.recent.pop_front()
            {
                self.recent_lost = lost.at.seq;
            }
            self.recent.push_back(publication);
        }
    }

    /// The first join was answered: the room begins where its answer stands. Answers of joins that were made together
    /// may be taken in any order, so what the room said before is kept for those that stand earlier.
    pub(super) fn begin(&mut self, id: &RoomId, joined: &Joined, index: usize) {
        let here = Position { birth: joined.birth, seq: joined.joins[index].seq };
        if self.position.is_some() {
            return;
        }
        self.roster = roster(joined.seen_by(index));
        self.position = Some(here);
        let earlier = |text: &String| {
            RoomEvent::read(text).is_some_and(|event| event.birth == here.birth && event.seq <= here.seq)
        };
        while self.waiting.front().is_some_and(earlier)
            && let Some(text) = self.waiting.pop_front()
            && let Some(event) = RoomEvent::read(&text)
        {
            let kind = if event.kind == Kind::Restore { Kind::Join } else { event.kind };
            self.recent.push_back(Publication::new(id, &event, kind, false));
        }
    }

    /// Seats who has been answered at `seq`, and sends what came since; says whether nothing is missing.
    pub(super) fn seat(&mut self, id: &RoomId, session: &Arc<Session>, joined: &Joined, index: usize) -> bool {
        let (birth, seq) = (joined.birth, joined.joins[index].seq);
        let at = Position { birth, seq };
        let here = self.position.map_or(0, |position| position.birth);
        // Elsewhere the roster differs from the snapshot by the events between them, which come or came.
        let comparable = self.settles_at.is_some() || here != birth || self.position == Some(at);
        let lacks = if comparable { self.lacking(joined, index) } else { HashSet::new() };
        let mut seat = Seat {
            session: Arc::clone(session),
            at,
            held: false,
            behind_since: None,
            missed: HashMap::new(),
            lacks,
            settling: false,
        };
        if here > birth || self.recent_lost > seq {
            seat.behind_since = Some(Instant::now());
        }
        for publication in &self.recent {
            seat.send(publication);
        }
        // An answer of a room that began anew may be here before the room has said so.
        let complete = seat.behind_since.is_none() && here == birth;
        self.seats.insert(session.conn.clone(), seat);
        complete && (self.repairing || self.catch_up(id))
    }

    /// Who is on the roster and not in the snapshot of a join.
    fn lacking(&self, joined: &Joined, index: usize) -> HashSet<ConnId> {
        if self.roster.len() == joined.seen_by(index).count() {
            return HashSet::new();
        }
        let present: HashSet<&ConnId> = joined.seen_by(index).map(|member| &member.conn_id).collect();
        self.roster.keys().filter(|conn| !present.contains(conn)).cloned().collect()
    }

    /// Applies what waited; says whether it fits.
    pub(super) fn catch_up(&mut self, id: &RoomId) -> bool {
        self.catch_up_to(id, Position { birth: u64::MAX, seq: 0 })
    }

    fn catch_up_to(&mut self, id: &RoomId, limit: Position) -> bool {
        while let (Some(position), Some(text)) = (self.position, self.waiting.pop_front()) {
            let Some(event) = RoomEvent::read(&text) else { continue };
            let at = Position { birth: event.birth, seq: event.seq };
            if at <= limit && at.birth == position.birth && at.seq == position.seq + 1 {
                self.apply(id, &event);
            } else if at > position {
                self.waiting.push_front(text);
                return false;
            }
        }
        true
    }

    /// What a repair need not fetch again; none when somebody needs a snapshot whatever it says.
    pub(super) fn known_position(&self) -> Option<(u64, u64)> {
        let needed = self.settles_at.is_some() || self.seats.values().any(|seat| seat.behind_since.is_some());
        self.position.filter(|_| !needed).map(|position| (position.birth, position.seq))
    }

    /// When to look again, because the room is settling.
    pub(super) fn settles_at(&self) -> Option<Instant> {
        self.settles_at
    }

    /// Takes a snapshot for the truth: members receive what they missed, then the whole. Answers the sessions here that
    /// it does not have.
    pub(super) fn reconcile(&mut self, id: &RoomId, snapshot: &Snapshot, now: Instant) -> Vec<Arc<Session>> {
        let at = Position { birth: snapshot.birth, seq: snapshot.seq };
        // What the room said before the snapshot was taken is no gap.
        self.catch_up_to(id, at);
        let missed = self.position != Some(at);
        // Redis came back with older data: everybody's place is beyond it.
        let went_back = self.position.is_some_and(|position| position.birth == at.birth && position > at);
        let anew = self.position.is_none_or(|position| position.birth != snapshot.birth);
        let settled = self.settles_at.is_some_and(|at| at <= now);
        if anew && self.settles_at.is_none() {
            self.settles_at = Some(now + SETTLING);
        }
        let (mut changes, mut roster) = (Vec::new(), roster(snapshot.members.iter()));
        for member in &snapshot.members {
            let known = self.roster.get(&member.conn_id);
            let kind = if known.is_some() { Kind::Update } else { Kind::Join };
            if known != roster.get(&member.conn_id) {
                changes.push(change(id, at, kind, &member.conn_id, roster.get(&member.conn_id)));
            }
        }
        let mut held_back = false;
        for (conn, known) in self.roster.drain().filter(|(conn, _)| !roster.contains_key(conn)).collect::<Vec<_>>() {
            if self.settles_at.is_some() && !settled {
                held_back = true;
                roster.insert(conn, known);
            } else {
                changes.push(change(id, at, Kind::Leave, &conn, Some(&known)));
            }
        }
        self.roster = roster;
        self.position = Some(at);
        if !held_back {
            self.settles_at = None;
        }
        let present: HashSet<&ConnId> = snapshot.members.iter().map(|member| &member.conn_id).collect();
        let truth = Truth {
            id,
            at,
            roster: &self.roster,
            present: &present,
            changes: &changes,
            everyone: missed || settled || !changes.is_empty(),
            held_back,
            sync: SyncMessage { room_id: id, snapshot: &snapshot.members, seq: snapshot.seq, birth: snapshot.birth },
        };
        // Who was answered later than the snapshot was taken stands beyond it, and what came since waits.
        for seat in self
            .seats
            .values_mut()
            .filter(|seat| !seat.held && (went_back || seat.at <= at || seat.behind_since.is_some()))
        {
            seat.bring_up_to_date(&truth);
        }
        let lost = self.seats.iter().filter(|(conn, _)| !present.contains(conn));
        lost.map(|(_, seat)| Arc::clone(&seat.session)).collect()
    }

    /// Whether somebody could not be brought up to date, because its queue is full. Who is behind for too long is
    /// closed.
    pub(super) fn close_behind(&mut self, limit: Duration) -> bool {
        let late = |seat: &Seat| seat.behind_since.is_some_and(|since| since.elapsed() > limit);
        for (_, seat) in self.seats.extract_if(|_, seat| late(seat)) {
            seat.session.doom("it stayed behind the room's events");
        }
        self.seats.values().any(|seat| seat.behind_since.is_some())
    }
}

impl Seat {
    fn send(&mut self, publication: &Publication) {
        let lacked = self.lacks.remove(&publication.conn);
        if publication.at <= self.at {
            return;
        }
        if !self.held && self.behind_since.is_none() && publication.send(&self.session, lacked) {
            self.at = publication.at;
            return;
        }
        if !self.held && self.behind_since.is_none() {
            self.behind_since = Some(Instant::now());
        }
        let knew = publication.kind != Kind::Join && !lacked;
        let knew = self.missed.get(&publication.conn).map_or(knew, |(_, knew)| *knew);
        self.missed.insert(publication.conn.clone(), (publication.known.clone(), knew));
    }

    fn bring_up_to_date(&mut self, truth: &Truth<'_>) {
        let behind = self.behind_since.is_some();
        // Who settled is told the whole, also if nothing has changed since it was told of the last who came back.
        let is_settled = self.settling && !truth.held_back;
        if !truth.everyone && !behind && !is_settled {
            return;
        }
        let Truth { id, at, roster, present, changes, .. } = *truth;
        let (back, lacked): (Vec<_>, Vec<_>) = self.lacks.drain().partition(|conn| present.contains(conn));
        let back: Vec<_> = back.iter().map(|conn| change(id, at, Kind::Join, conn, roster.get(conn))).collect();
        let missed = changes_for(id, at, roster, &self.missed);
        let shown = |change: &&Publication| {
            !lacked.contains(&change.conn) && !back.iter().flatten().any(|other| other.conn == change.conn)
        };
        let changes = missed.iter().chain(changes).flatten().filter(shown);
        let mut took = back.iter().flatten().chain(changes).all(|change| change.send(&self.session, false));
        // Who was answered in the room's new life knows nobody who is held back: the snapshot is its whole.
        self.settling = truth.held_back && (self.settling || self.at.birth != at.birth);
        self.at = at;
        took = if self.settling { took && !behind } else { took && self.session.emit("presence:sync", &truth.sync) };
        if truth.held_back {
            self.lacks.extend(lacked);
        }
        if took {
            self.behind_since = None;
            self.missed = HashMap::new();
        } else {
            self.behind_since.get_or_insert_with(Instant::now);
        }
    }
}

impl Known {
    pub(super) fn of(event: &RoomEvent<'_>) -> Self {
        Self { user: event.user.into(), epoch: event.epoch, state: event.state.get().into() }
    }

    fn is(&self, event: &RoomEvent<'_>) -> bool {
        self.epoch == event.epoch && *self.state == *event.state.get()
    }
}

fn roster<'a>(members: impl Iterator<Item = &'a Member>) -> HashMap<ConnId, Known> {
    members
        .map(|m| (m.conn_id.clone(), Known { user: m.user_id.clone(), epoch: m.epoch, state: m.state.get().into() }))
        .collect()
}

/// What members missed, as an event at the snapshot's position.
fn change(id: &RoomId, at: Position, kind: Kind, conn: &ConnId, known: Option<&Known>) -> Option<Publication> {
    let known = known?;
    let event = RoomEvent {
        birth: at.birth,
        seq: at.seq,
        ts: known.epoch,
        epoch: known.epoch,
        kind,
        reason: (kind == Kind::Leave).then_some(Reason::Expired),
        user_edge: true,
        traceparent: None,
        conn: conn.as_str(),
        user: known.user.as_str(),
        state: serde_json::from_str::<&RawValue>(&known.state).ok()?,
    };
    Some(Publication::new(id, &event, kind, true))
}

/// What one member missed, as events: who came, who is different, who is gone.
fn changes_for(
    id: &RoomId,
    at: Position,
    roster: &HashMap<ConnId, Known>,
    missed: &HashMap<ConnId, (Known, bool)>,
) -> Vec<Option<Publication>> {
    let told = missed.iter().filter_map(|(conn, (last, knew))| match roster.get(conn) {
        Some(now) => Some(change(id, at, if *knew { Kind::Update } else { Kind::Join }, conn, Some(now))),
        None if *knew => Some(change(id, at, Kind::Leave, conn, Some(last))),
        None => None,
    });
    told.collect()
}
