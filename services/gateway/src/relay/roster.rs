//! Who is in a room, as its members here know it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use protocol::{
    ConnId, UserId,
    client::Member,
    event::{Kind, RoomEvent},
};

use super::seat::Shown;

/// What members know of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) user: UserId,
    pub(super) epoch: u64,
    pub(super) state: Arc<str>,
}

impl Known {
    /// The connection after `event`, if it is still there.
    pub(super) fn after(event: &RoomEvent<'_>) -> Option<Self> {
        let known = || Self { user: event.user.into(), epoch: event.epoch, state: event.state.get().into() };
        (event.kind != Kind::Leave).then(known)
    }

    fn from_snapshot(member: &Member) -> Self {
        Self { user: member.user_id.clone(), epoch: member.epoch, state: member.state.get().into() }
    }

    /// Whether `event` says nothing new of it.
    pub(super) fn is(&self, event: &RoomEvent<'_>) -> bool {
        self.epoch == event.epoch && *self.state == *event.state.get()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Roster(HashMap<ConnId, Known>);

impl Roster {
    pub(super) fn of<'a>(members: impl Iterator<Item = &'a Member>) -> Self {
        Self(members.map(|member| (member.conn_id.clone(), Known::from_snapshot(member))).collect())
    }

    pub(super) fn get(&self, conn: &str) -> Option<&Known> {
        self.0.get(conn)
    }

    /// Takes what an event says of a connection; answers what was known before.
    pub(super) fn take(&mut self, conn: &ConnId, after: Option<&Known>) -> Option<Known> {
        match after {
            Some(known) => self.0.insert(conn.clone(), known.clone()),
            None => self.0.remove(conn),
        }
    }

    /// Keeps those of `before` that it does not have; answers who they are.
    pub(super) fn hold_back(&mut self, before: &Roster) -> HashSet<ConnId> {
        let missing = |conn: &&ConnId| !self.0.contains_key(conn.as_str());
        let held_back: HashSet<_> = before.0.keys().filter(missing).cloned().collect();
        let known = held_back.iter().filter_map(|conn| Some((conn.clone(), before.get(conn.as_str())?.clone())));
        self.0.extend(known);
        held_back
    }

    /// What it says where `other` says something else.
    pub(super) fn where_not(&self, other: &Roster) -> Shown {
        let different = self.0.iter().filter(|(conn, known)| other.get(conn.as_str()) != Some(*known));
        let different = different.map(|(conn, known)| (conn.clone(), Some(known.clone())));
        let lacking = other.0.keys().filter(|conn| !self.0.contains_key(conn.as_str()));
        different.chain(lacking.map(|conn| (conn.clone(), None))).collect()
    }

    /// What somebody was shown who was shown `members`, where the roster says something else.
    pub(super) fn unlike<'a>(&self, members: impl Iterator<Item = &'a Member> + Clone) -> Shown {
        let is_known = |m: &Member, known: &Known| {
            known.user == m.user_id && known.epoch == m.epoch && *known.state == *m.state.get()
        };
        let (mut shown, mut shared) = (HashMap::new(), 0);
        for member in members.clone() {
            let known = self.get(member.conn_id.as_str());
            shared += usize::from(known.is_some());
            if !known.is_some_and(|known| is_known(member, known)) {
                shown.insert(member.conn_id.clone(), Some(Known::from_snapshot(member)));
            }
        }
        if shared < self.0.len() {
            let present: HashSet<&ConnId> = members.map(|member| &member.conn_id).collect();
            let lacking = self.0.keys().filter(|conn| !present.contains(conn));
            shown.extend(lacking.map(|conn| (conn.clone(), None)));
        }
        shown.into_iter().collect()
    }

    /// How many connections each user has.
    pub(super) fn users(&self) -> HashMap<&UserId, i64> {
        let mut users = HashMap::new();
        self.0.values().for_each(|known| *users.entry(&known.user).or_default() += 1);
        users
    }
}
