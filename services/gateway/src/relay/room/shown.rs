//! Where a member was shown something else than the roster has.

use std::collections::{HashMap, HashSet};

use rollcall_protocol::{ConnId, command::Member};

use super::roster::{Known, Roster};

/// What a member was shown of the connections for which that differs from the roster; `None` for one that it was never shown.
/// Of all other connections it was shown what the roster has.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "8 bytes instead of 48 for every idle connection")]
pub(super) struct Shown(Option<Box<HashMap<ConnId, Option<Known>>>>);

impl Shown {
    /// The differences to `now` for a member that was shown `before`.
    pub(super) fn between(before: &Roster, now: &Roster) -> Self {
        let different = before.iter().filter(|(conn, known)| now.get(conn.as_str()) != Some(*known));
        let different = different.map(|(conn, known)| (conn.clone(), Some(known.clone())));
        let lacking = now.iter().filter(|(conn, _)| before.get(conn.as_str()).is_none());
        different.chain(lacking.map(|(conn, _)| (conn.clone(), None))).collect()
    }

    /// The differences to `roster` for a member whose join was answered with `members`.
    pub(super) fn by_answer<'a>(members: impl Iterator<Item = &'a Member> + Clone, roster: &Roster) -> Self {
        let (mut shown, mut shared) = (HashMap::new(), 0);
        for member in members.clone() {
            let known = roster.get(member.conn.as_str());
            shared += usize::from(known.is_some());
            if !known.is_some_and(|known| known.is_member(member)) {
                shown.insert(member.conn.clone(), Some(Known::from_snapshot(member)));
            }
        }
        if shared < roster.len() {
            let present: HashSet<&ConnId> = members.map(|member| &member.conn).collect();
            let lacking = roster.iter().map(|(conn, _)| conn).filter(|conn| !present.contains(conn));
            shown.extend(lacking.map(|conn| (conn.clone(), None)));
        }
        shown.into_iter().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn get(&self, conn: &ConnId) -> Option<Option<&Known>> {
        self.0.as_ref()?.get(conn).map(Option::as_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ConnId, Option<&Known>)> {
        self.0.iter().flat_map(|shown| shown.iter()).map(|(conn, known)| (conn, known.as_ref()))
    }

    /// The member was shown `known`, whatever the roster has.
    pub(super) fn set(&mut self, conn: &ConnId, known: Option<&Known>) {
        self.0.get_or_insert_default().insert(conn.clone(), known.cloned());
    }

    /// The roster changed for `conn`, from `before`, and the member was not sent the change.
    pub(super) fn missed(&mut self, conn: &ConnId, before: Option<&Known>) {
        self.0.get_or_insert_default().entry(conn.clone()).or_insert_with(|| before.cloned());
    }

    /// The member was shown what the roster has of `conn`.
    pub(super) fn forget(&mut self, conn: &ConnId) {
        if let Some(shown) = &mut self.0
            && shown.remove(conn).is_some()
            && shown.is_empty()
        {
            self.0 = None;
        }
    }

    /// Drops entries that equal the roster.
    pub(super) fn compare(&mut self, roster: &Roster) {
        if let Some(shown) = &mut self.0 {
            shown.retain(|conn, known| known.as_ref() != roster.get(conn.as_str()));
            if shown.is_empty() {
                self.0 = None;
            }
        }
    }

    /// Drops the entry of one connection if it equals `known`.
    pub(super) fn compare_one(&mut self, conn: &ConnId, known: Option<&Known>) {
        if self.get(conn) == Some(known) {
            self.forget(conn);
        }
    }
}

impl FromIterator<(ConnId, Option<Known>)> for Shown {
    fn from_iter<I: IntoIterator<Item = (ConnId, Option<Known>)>>(shown: I) -> Self {
        let shown: HashMap<_, _> = shown.into_iter().collect();
        Self((!shown.is_empty()).then(|| Box::new(shown)))
    }
}
