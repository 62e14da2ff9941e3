//! The members of a room, as the members here know them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rollcall_protocol::{
    ConnId, Info, UserId, client,
    command::Member,
    event::{Kind, RoomEvent},
};
use serde_json::value::RawValue;

/// What members know of a connection. Two are equal if members see no difference; `op` only orders them.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) user: UserId,
    pub(super) epoch: u64,
    pub(super) op: u64,
    pub(super) info: Option<Info>,
    pub(super) state: Arc<str>,
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        (&self.user, self.epoch, &self.info, &self.state) == (&other.user, other.epoch, &other.info, &other.state)
    }
}

impl Known {
    /// The connection after `event`; `None` after a leave. The info seldom changes, so it is shared with what was known `before`.
    pub(super) fn after(event: &RoomEvent<'_>, before: Option<&Self>) -> Option<Self> {
        let RoomEvent { user, epoch, op, info: json, state, .. } = *event;
        let info = || match before {
            Some(before) if before.has_info(json) => before.info.clone(),
            _ => json.map(ToOwned::to_owned).and_then(Info::from_line),
        };
        let known = || Self { user: user.into(), epoch, op, info: info(), state: state.get().into() };
        (event.kind != Kind::Leave).then(known)
    }

    fn has_info(&self, json: Option<&RawValue>) -> bool {
        self.info.as_ref().map(Info::as_str) == json.map(RawValue::get)
    }

    pub(super) fn from_snapshot(member: &Member) -> Self {
        let Member { user, epoch, op, info, state, .. } = member;
        Self { user: user.clone(), epoch: *epoch, op: *op, info: info.clone(), state: state.get().into() }
    }

    /// Whether it equals a snapshot's `member`.
    pub(super) fn is_member(&self, member: &Member) -> bool {
        self.user == member.user
            && self.epoch == member.epoch
            && self.info == member.info
            && *self.state == *member.state.get()
    }

    /// Grows with each change of the record.
    pub(super) fn age(&self) -> (u64, u64) {
        (self.epoch, self.op)
    }

    /// Whether `event` has nothing new.
    pub(super) fn is(&self, event: &RoomEvent<'_>) -> bool {
        self.user.as_str() == event.user
            && self.epoch == event.epoch
            && self.has_info(event.info)
            && *self.state == *event.state.get()
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
        for (conn_id, Known { user: user_id, epoch, info, state, .. }) in &self.0 {
            let Ok(state) = serde_json::from_str(state) else { continue };
            let (info, epoch) = (info.as_ref().map(Info::json), *epoch);
            members.push(client::Member { conn_id, user_id, state, info, last_seen_ms: seen_ms, epoch });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn member(info: &str) -> Member {
        let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let info = if info.is_empty() { None } else { Info::from_line(json(info)) };
        Member { conn: "c".into(), user: "ann".into(), epoch: 7, op: 4, info, state: json("{}") }
    }

    /// Members are sent an update for it.
    #[test]
    fn another_info_is_a_difference() {
        let infos = ["", r#"{"n":1}"#, r#"{"n":2}"#];
        for (one, other) in infos.iter().flat_map(|one| infos.iter().map(move |other| (*one, *other))) {
            let text = format!("3 5 3 9 8 7 7 4 update - 0\n\nc\nann\n{one}\n{{}}");
            let event = RoomEvent::read(&text).unwrap();
            let (other, same) = (member(other), one == other);
            let before = Known::from_snapshot(&other);
            for known in [None, Some(&before)].map(|before| Known::after(&event, before).unwrap()) {
                assert_eq!((known.is_member(&other), known == before), (same, same));
            }
            assert_eq!(before.is(&event), same);
        }
    }
}
