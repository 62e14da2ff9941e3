//! What a snapshot says to those who may not know it: what is different, as events at the snapshot's position, and the
//! whole.

use std::{cell::OnceCell, collections::HashSet};

use protocol::{
    ConnId, RoomId,
    client::SyncMessage,
    command::Snapshot,
    event::{Kind, Reason, RoomEvent},
};
use serde_json::value::RawValue;

use super::{
    publication::Publication,
    room::Position,
    roster::{Known, Roster},
    seat::Shown,
};

/// See the module. What most members are told alike is written once.
pub(super) struct Truth<'a> {
    pub(super) id: &'a RoomId,
    pub(super) at: Position,
    /// The roster since: the snapshot, and those who are held back while the room settles.
    pub(super) roster: &'a Roster,
    /// Who is held back: whoever knew them is told the whole when they came back or are gone.
    pub(super) held_back: &'a HashSet<ConnId>,
    /// Events were missed by all, not only by those who are behind.
    pub(super) everyone: bool,
    pub(super) snapshot: &'a Snapshot,
    /// What a member was shown that was shown the roster as it was before, where the roster says something else now.
    pub(super) before: Shown,
    pub(super) changes: OnceCell<Vec<Publication>>,
    pub(super) whole: OnceCell<Box<RawValue>>,
}

impl Truth<'_> {
    /// What a member receives that was shown the roster as it was before.
    pub(super) fn changes(&self) -> &[Publication] {
        self.changes.get_or_init(|| self.changes_for(&self.before, true))
    }

    /// What a member receives that was shown `shown` where the roster says something else: who came, who is different, and only then who is
    /// gone, so that no user seems to leave who has come back on another connection.
    pub(super) fn changes_for(&self, shown: &Shown, settling: bool) -> Vec<Publication> {
        let (here, gone): (Vec<_>, Vec<_>) = shown
            .iter()
            .map(|(conn, was)| (conn, was, self.roster.get(conn.as_str())))
            .map(|(conn, was, is)| (conn, was, is.filter(|_| !self.is_hidden(conn, was, settling))))
            .filter(|(_, was, is)| was != is)
            .partition(|(_, _, is)| is.is_some());
        if here.is_empty() && gone.is_empty() {
            return Vec::new();
        }
        let mut users = self.roster.users();
        for (conn, was) in shown.iter() {
            let roster = self.roster.get(conn.as_str());
            roster.iter().for_each(|known| *users.entry(&known.user).or_default() -= 1);
            was.iter().for_each(|known| *users.entry(&known.user).or_default() += 1);
        }
        let mut changes = Vec::with_capacity(here.len() + gone.len());
        for (conn, was, is) in here.into_iter().chain(gone) {
            let same_user = was.zip(is).is_some_and(|(was, is)| was.user == is.user);
            let mut tell = |kind, known: &Known, edge| {
                changes.extend(self.change(kind, conn, known, edge));
            };
            if let Some(was) = was.filter(|_| !same_user) {
                let left = users.entry(&was.user).or_default();
                *left -= 1;
                tell(Kind::Leave, was, *left == 0);
            }
            match is {
                Some(is) if same_user => tell(Kind::Update, is, false),
                Some(is) => {
                    let others = users.entry(&is.user).or_default();
                    *others += 1;
                    tell(Kind::Join, is, *others == 1);
                }
                None => {}
            }
        }
        changes
    }

    /// Who is held back is there for those who settle and knew it before.
    fn is_hidden(&self, conn: &ConnId, was: Option<&Known>, settling: bool) -> bool {
        self.held_back.contains(conn) && (was.is_none() || !settling)
    }

    fn change(&self, kind: Kind, conn: &ConnId, known: &Known, user_edge: bool) -> Option<Publication> {
        let event = RoomEvent {
            birth: self.at.birth,
            seq: self.at.seq,
            ts: known.epoch,
            epoch: known.epoch,
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
            let Snapshot { birth, seq, members } = self.snapshot;
            let sync = SyncMessage { room_id: self.id, snapshot: members, seq: *seq, birth: *birth };
            serde_json::value::to_raw_value(&sync).unwrap_or_default()
        })
    }
}
