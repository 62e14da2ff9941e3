//! The members of a room, as the members here know them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use protocol::{
    ConnId, UserId, client,
    command::Member,
    event::{Kind, RoomEvent},
};

/// What members know of a connection. Two are equal if members see no difference; `op` only orders them.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) user: UserId,
    pub(super) epoch: u64,
    pub(super) op: u64,
    pub(super) state: Arc<str>,
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        (&self.user, self.epoch, &self.state) == (&other.user, other.epoch, &other.state)
    }
}

impl Known {
    /// The connection after `event`; `None` after a leave.
    pub(super) fn after(event: &RoomEvent<'_>) -> Option<Self> {
        let RoomEvent { user, epoch, op, state, .. } = *event;
        let known = || Self { user: user.into(), epoch, op, state: state.get().into() };
        (event.kind != Kind::Leave).then(known)
    }

    pub(super) fn from_snapshot(member: &Member) -> Self {
        let Member { user, epoch, op, state, .. } = member;
        Self { user: user.clone(), epoch: *epoch, op: *op, state: state.get().into() }
    }

    /// Whether it equals a snapshot's `member`.
    pub(super) fn is_member(&self, member: &Member) -> bool {
        self.user == member.user && self.epoch == member.epoch && *self.state == *member.state.get()
    }

    /// Grows with each change of the record.
    pub(super) fn age(&self) -> (u64, u64) {
        (self.epoch, self.op)
    }

    /// Whether `event` has nothing new.
    pub(super) fn is(&self, event: &RoomEvent<'_>) -> bool {
        self.user.as_str() == event.user && self.epoch == event.epoch && *self.state == *event.state.get()
    }
}

/// The members of a room.
#[derive(Debug, Default)]
pub(super) struct Roster(HashMap<ConnId, Known>);

impl Roster {
    pub(super) fn of<'a>(members: impl Iterator<Item = &'a Member>) -> Self {
        Self(members.map(|member| (member.conn.clone(), Known::from_snapshot(member))).collect())
    }

    pub(super) fn get(&self, conn: &str) -> Option<&Known> {
        self.0.get(conn)
    }

    /// Sets what an event says about a connection; returns what was known before.
    pub(super) fn take(&mut self, conn: &ConnId, after: Option<&Known>) -> Option<Known> {
        match after {
            Some(known) => self.0.insert(conn.clone(), known.clone()),
            None => self.0.remove(conn),
        }
    }

    /// Adds those of `members` that it lacks or has older, to itself and to `held_back`.
    pub(super) fn hold_back<'a>(
        &mut self,
        members: impl Iterator<Item = (&'a ConnId, &'a Known)>,
        held_back: &mut HashSet<ConnId>,
    ) {
        for (conn, was) in members {
            if self.get(conn.as_str()).is_none_or(|is| is.age() < was.age()) {
                self.0.insert(conn.clone(), was.clone());
                held_back.insert(conn.clone());
            }
        }
    }

    /// Removes the members for which `has_left` holds; returns whether there were any.
    pub(super) fn keep_out(&mut self, has_left: impl Fn(&ConnId, &Known) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|conn, known| !has_left(conn, known));
        self.0.len() < before
    }

    /// The members as clients see them, as of `seen_ms`.
    pub(super) fn members(&self, seen_ms: u64) -> Vec<client::Member<'_>> {
        let mut members = Vec::with_capacity(self.0.len());
        for (conn_id, Known { user, epoch, state, .. }) in &self.0 {
            let Ok(state) = serde_json::from_str(state) else { continue };
            members.push(client::Member { conn_id, user_id: user, state, last_seen_ms: seen_ms, epoch: *epoch });
        }
        members
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ConnId, &Known)> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The number of connections of each user.
    pub(super) fn users(&self) -> HashMap<&UserId, i64> {
        let mut users = HashMap::new();
        self.0.values().for_each(|known| *users.entry(&known.user).or_default() += 1);
        users
    }
}
