//! Events of a room as they arrive: the next event is applied and sent to the members here; any other waits or reveals a gap.

use rollcall_protocol::{
    ConnId, Info, Position, RoomId,
    event::{Kind, RoomEvent},
};

use super::{
    Phase, Room,
    position::Place,
    publication::{Marked, Publication},
    roster::Known,
    sink::Sink,
    subscriber::Subscriber,
};

/// The result of receiving an event.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::relay) enum Heard {
    /// It was the next one, and was sent to so many members.
    Delivered(usize),
    /// It waits, or it was known.
    Kept,
    /// An event before it is missing.
    Gap,
}

impl<S: Sink> Room<S> {
    /// Receives an event.
    pub(in crate::relay) fn hear(&mut self, id: &RoomId, text: &str, event: &RoomEvent<'_>) -> Heard {
        let Phase::Live(position) = self.phase else {
            self.keep(text);
            return Heard::Kept;
        };
        match Place::of(event, position) {
            Place::Known => Heard::Kept,
            Place::Next => Heard::Delivered(self.apply(id, event)),
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
        if !self.is_idle() {
            self.backlog.push(text);
        }
    }

    /// Says to how many members it was sent.
    fn apply(&mut self, id: &RoomId, event: &RoomEvent<'_>) -> usize {
        if self.is_known_to_be_gone(event) {
            // The event advances the position but is not sent, so a snapshot brings members up to date.
            self.move_to(event.at);
            self.subscribers.values_mut().for_each(Subscriber::fall_behind);
            self.wanted.snapshot = true;
            return 0;
        }
        // Redis came back with an older record than the one its gateway will restore. The event advances the position, and is sent
        // with the newer info and state that are known here.
        let is_newer = |known: &&Known| event.kind != Kind::Leave && known.age() > (event.epoch, event.op);
        let known = self.roster.get(event.conn).filter(|_| self.recovery.is_some()).filter(is_newer).cloned();
        if let Some(Known { epoch, op, info, state, .. }) = &known
            && let Ok(state) = serde_json::from_str(state)
        {
            let info = info.as_ref().map(Info::json);
            return self.apply_current(id, &RoomEvent { epoch: *epoch, op: *op, info, state, ..*event });
        }
        let was_last = self.recovery.as_mut().is_some_and(|recovery| recovery.hear(event.conn));
        self.wanted.snapshot |= was_last;
        self.apply_current(id, event)
    }

    /// Whether it is the second leave of a connection. Redis lost the first one and had the record again; the record was kept out
    /// of the roster, and is removed now.
    fn is_known_to_be_gone(&self, event: &RoomEvent<'_>) -> bool {
        let conn = ConnId::from(event.conn);
        let was_shown = |one: &Subscriber<S>| one.shown.get(&conn).flatten().is_some();
        event.kind == Kind::Leave
            && self.recovery.as_ref().is_some_and(|recovery| recovery.keeps_out)
            && self.roster.get(event.conn).is_none()
            && !self.subscribers.values().any(was_shown)
    }

    fn apply_current(&mut self, id: &RoomId, event: &RoomEvent<'_>) -> usize {
        self.move_to(event.at);
        let (conn, after) = (ConnId::from(event.conn), Known::after(event, self.roster.get(event.conn)));
        let before = self.roster.take(&conn, after.as_ref());
        self.repeat_record(&conn);
        if event.kind == Kind::Leave
            && let Some(one) = self.subscribers.get(event.conn).filter(|one| one.at.token < event.at.token)
        {
            // The member did not ask to leave: its session is informed before members are sent the leave.
            one.sink.evicted(event.op);
        }
        // A record that Redis rolled back may leave before it is restored; the epoch that members see must not go back.
        let known_epoch = before.as_ref().filter(|_| event.kind == Kind::Leave).map_or(0, |known| known.epoch);
        let mut event = RoomEvent { epoch: event.epoch.max(known_epoch), ..*event };
        // The answer with which the room began here did not include it, because its gateway seemed to be gone.
        if event.kind == Kind::Update && before.is_none() {
            event.kind = Kind::Join;
            event.user_edge =
                !self.roster.iter().any(|(other, known)| known.user.as_str() == event.user && *other != conn);
        }
        let event = &event;
        let publication = self.publication(id, event, &conn, before.as_ref(), after);
        let (mut marked, mut recipients) = (Marked::new(id, event), 0);
        for one in self.subscribers.values_mut() {
            let (was_behind, was_forked) = (one.is_behind(), one.forked);
            let sent = if one.settling {
                one.send_marked(&mut marked, event, &conn, before.as_ref(), &self.roster)
            } else {
                one.send(&publication, one.shown.get(&conn) == Some(None))
            };
            if sent {
                recipients += 1;
                one.shown.forget(&conn);
            } else {
                one.shown.missed(&conn, before.as_ref());
                one.shown.compare_one(&conn, publication.after.as_ref());
            }
            self.wanted.catch_up |= !was_behind && one.is_behind();
            let has_forked = one.forked && !was_forked;
            self.wanted.snapshot |= has_forked;
            self.forked |= has_forked;
        }
        self.joins.keep(publication);
        recipients
    }

    /// The event as members receive it. `before` is what the roster had of the connection before it. A join or a restored record is
    /// an update for members that have known the connection all the time.
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
        // A member that joined while Redis had lost others was not shown them; it is sent a join when they are restored.
        let lacks = |one: &Subscriber<S>| one.shown.get(conn) == Some(None);
        if kind == Kind::Update && (event.kind != Kind::Update || self.subscribers.values().any(lacks)) {
            return publication.with_join(id, event);
        }
        publication
    }

    /// Applies what waited; says whether it fits.
    pub(super) fn apply_backlog(&mut self, id: &RoomId) -> bool {
        self.apply_backlog_to(id, Position { generation: u64::MAX, seq: 0, token: 0 })
    }

    /// Applies what waited, up to `limit`.
    pub(super) fn apply_backlog_to(&mut self, id: &RoomId, limit: Position) -> bool {
        while let (Some(position), Some(text)) = (self.position(), self.backlog.pop()) {
            let Some(event) = RoomEvent::read(&text) else { continue };
            match Place::of(&event, position) {
                Place::Next if event.at <= limit => drop(self.apply(id, &event)),
                Place::Known => {}
                place => {
                    self.forked |= matches!(place, Place::Apart { forked: true });
                    self.backlog.put_back(text);
                    return false;
                }
            }
        }
        self.backlog.clear();
        true
    }
}
