//! What a snapshot changes for members: the differences, as events at the snapshot's position, and the full roster
//! (`presence:sync`).

use std::{cell::OnceCell, collections::HashSet};

use rollcall_protocol::{
    ConnId, Info, Position, RoomId,
    client::SyncMessage,
    event::{Kind, Reason, RoomEvent},
};
use serde_json::value::RawValue;

use super::{
    publication::Publication,
    roster::{Known, Roster},
    shown::Shown,
    turn::Turn,
};

/// A resync of a room's members. What most members are sent alike is encoded once.
pub(super) struct Resync<'a> {
    pub(super) id: &'a RoomId,
    pub(super) at: Position,
    /// When the gateways of its members were last known to hold their leases.
    pub(super) seen_ms: u64,
    /// The new roster: the snapshot, and the members that are held back while the room recovers.
    pub(super) roster: &'a Roster,
    /// The members that are held back, and missing ones that only some were shown. A member that knew one of them is sent the full
    /// roster when these are restored or gone.
    pub(super) held_back: &'a HashSet<ConnId>,
    /// What may be sent; who has no turn any more falls behind.
    pub(super) turn: &'a Turn,
    /// Events were missed by all members, not only by those that are behind.
    pub(super) everyone: bool,
    /// The differences of the old roster to the new one: what a member was shown that was shown the old one.
    pub(super) before: Shown,
    pub(super) changes: OnceCell<Vec<Publication>>,
    pub(super) sync: OnceCell<Box<RawValue>>,
}

impl<'a> Resync<'a> {
    /// A resync of a room at `at` with this roster, as of `seen_ms`, in which only members that are behind missed events.
    pub(super) fn new(
        id: &'a RoomId,
        at: Position,
        seen_ms: u64,
        roster: &'a Roster,
        held_back: &'a HashSet<ConnId>,
        turn: &'a Turn,
    ) -> Self {
        let (everyone, before) = (false, Shown::default());
        let (changes, sync) = (OnceCell::new(), OnceCell::new());
        Self { id, at, seen_ms, roster, held_back, turn, everyone, before, changes, sync }
    }

    /// The events for a member that was shown the old roster.
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

    /// Passes the events for a member whose view differs from the roster by `shown` to `take`, until that has no room for one.
    /// First the connections that came or changed, then those that left, so that a user that is back on another connection does
    /// not seem to leave. With `hides`, connections that are held back neither come nor leave.
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
            let mut send = |kind, known, edge| self.change(kind, conn, known, edge).is_none_or(&mut take);
            let mut goes_on = true;
            if let Some(was) = was.filter(|_| !same_user) {
                let left = users.entry(&was.user).or_default();
                *left -= 1;
                goes_on = send(Kind::Leave, was, *left == 0);
            }
            goes_on = goes_on
                && match is {
                    Some(is) if same_user => send(Kind::Update, is, false),
                    Some(is) => {
                        let others = users.entry(&is.user).or_default();
                        *others += 1;
                        send(Kind::Join, is, *others == 1)
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
            info: known.info.as_ref().map(Info::json),
            state: serde_json::from_str(&known.state).ok()?,
        };
        let after = (kind != Kind::Leave).then(|| known.clone());
        Some(Publication::resync(self.id, &event, conn.clone(), after))
    }

    /// The full roster, as `presence:sync`.
    pub(super) fn sync_message(&self) -> &RawValue {
        self.sync.get_or_init(|| {
            let Position { generation, seq, .. } = self.at;
            let sync = SyncMessage { room_id: self.id, snapshot: self.roster.members(self.seen_ms), seq, generation };
            serde_json::value::to_raw_value(&sync).unwrap_or_default()
        })
    }
}
