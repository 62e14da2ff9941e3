//! What a snapshot says to those who may not know it: what is different, as events at the snapshot's position, and the
//! whole.

use std::{cell::OnceCell, collections::HashSet};

use protocol::{
    ConnId, Position, RoomId,
    client::SyncMessage,
    event::{Kind, Reason, RoomEvent},
};
use serde_json::value::RawValue;

use super::{
    publication::Publication,
    roster::{Known, Roster},
    shown::Shown,
};

/// See the module. What most members are told alike is written once.
pub(super) struct Resync<'a> {
    pub(super) id: &'a RoomId,
    pub(super) at: Position,
    /// When the gateways of its members were last known to hold their leases.
    pub(super) seen_ms: u64,
    /// The roster since: the snapshot, and those who are held back while the room recovers.
    pub(super) roster: &'a Roster,
    /// Who is held back, and who is missing that only some were shown: anyone who knew them is sent the whole when they are
    /// restored or gone.
    pub(super) held_back: &'a HashSet<ConnId>,
    /// Events were missed by all, not only by those who are behind.
    pub(super) everyone: bool,
    /// What a member was shown that was shown the roster as it was before, where the roster says something else now.
    pub(super) before: Shown,
    pub(super) changes: OnceCell<Vec<Publication>>,
    pub(super) whole: OnceCell<Box<RawValue>>,
}

impl<'a> Resync<'a> {
    /// A room that stands at `at` with this roster, as of `seen_ms`, and of which only members that are behind missed anything.
    pub(super) fn new(
        id: &'a RoomId,
        at: Position,
        seen_ms: u64,
        roster: &'a Roster,
        held_back: &'a HashSet<ConnId>,
    ) -> Self {
        let (everyone, before) = (false, Shown::default());
        Self { id, at, seen_ms, roster, held_back, everyone, before, changes: OnceCell::new(), whole: OnceCell::new() }
    }

    /// What a member receives that was shown the roster as it was before.
    pub(super) fn changes(&self) -> &[Publication] {
        self.changes.get_or_init(|| {
            let mut changes = Vec::new();
            self.changes_for(&self.before, false, |change| {
                changes.push(change);
                true
            });
            changes
        })
    }

    /// Passes on, one by one until `take` has no room for one, what a member receives that was shown `shown` where the roster
    /// says something else: who came, who is different, and only then who is gone, so that no user seems to leave who has come
    /// back on another connection. With `hides`, those who are held back neither come nor go.
    pub(super) fn changes_for(&self, shown: &Shown, hides: bool, mut take: impl FnMut(Publication) -> bool) {
        let (here, gone): (Vec<_>, Vec<_>) = shown
            .iter()
            .map(|(conn, was)| (conn, was, self.roster.get(conn.as_str())))
            .filter(|(conn, was, is)| {
                was != is && !(hides && was.is_some() != is.is_some() && self.held_back.contains(*conn))
            })
            .partition(|(_, _, is)| is.is_some());
        if here.is_empty() && gone.is_empty() {
            return;
        }
        let mut users = self.roster.users();
        for (conn, was) in shown.iter() {
            let roster = self.roster.get(conn.as_str());
            roster.iter().for_each(|known| *users.entry(&known.user).or_default() -= 1);
            was.iter().for_each(|known| *users.entry(&known.user).or_default() += 1);
        }
        for (conn, was, is) in here.into_iter().chain(gone) {
            let same_user = was.zip(is).is_some_and(|(was, is)| was.user == is.user);
            let mut tell = |kind, known, edge| self.change(kind, conn, known, edge).is_none_or(&mut take);
            let mut goes_on = true;
            if let Some(was) = was.filter(|_| !same_user) {
                let left = users.entry(&was.user).or_default();
                *left -= 1;
                goes_on = tell(Kind::Leave, was, *left == 0);
            }
            goes_on = goes_on
                && match is {
                    Some(is) if same_user => tell(Kind::Update, is, false),
                    Some(is) => {
                        let others = users.entry(&is.user).or_default();
                        *others += 1;
                        tell(Kind::Join, is, *others == 1)
                    }
                    None => true,
                };
            if !goes_on {
                return;
            }
        }
    }

    fn change(&self, kind: Kind, conn: &ConnId, known: &Known, user_edge: bool) -> Option<Publication> {
        let event = RoomEvent {
            at: self.at,
            previous_token: 0,
            ts: known.epoch,
            epoch: known.epoch,
            op: known.op,
            kind,
            reason: (kind == Kind::Leave).then_some(Reason::Expired),
            user_edge,
            traceparent: None,
            conn: conn.as_str(),
            user: known.user.as_str(),
            state: serde_json::from_str(&known.state).ok()?,
        };
        let after = (kind != Kind::Leave).then(|| known.clone());
        Some(Publication::resync(self.id, &event, conn.clone(), after))
    }

    /// The whole, as `presence:sync`.
    pub(super) fn whole(&self) -> &RawValue {
        self.whole.get_or_init(|| {
            let Position { birth, seq, .. } = self.at;
            let sync = SyncMessage { room_id: self.id, snapshot: self.roster.members(self.seen_ms), seq, birth };
            serde_json::value::to_raw_value(&sync).unwrap_or_default()
        })
    }
}
