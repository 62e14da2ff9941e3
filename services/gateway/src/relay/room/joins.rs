//! Joins under way, and what the room said since the oldest of them began: an answer may be taken after events that it does
//! not know.

use std::collections::{BTreeMap, VecDeque};

use protocol::Position;

use super::{MOST_KEPT_BYTES, publication::Publication};

/// A join under way, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::relay) struct Join(u64);

/// See the module.
#[derive(Default)]
pub(super) struct Joins {
    /// Where the room stood when each began, by the token.
    under_way: BTreeMap<Join, u64>,
    last: u64,
    recent: VecDeque<Publication>,
    bytes: usize,
}

impl Joins {
    /// A join begins while the room stands at `token`; 0 if it has no position yet.
    pub(super) fn begin(&mut self, token: u64) -> Join {
        self.last += 1;
        self.under_way.insert(Join(self.last), token);
        Join(self.last)
    }

    /// A join ended, one way or the other. Only what came since the oldest one that is left began is kept.
    pub(super) fn end(&mut self, join: Join) {
        self.under_way.remove(&join);
        match self.under_way.first_key_value().map(|(_, token)| *token) {
            Some(oldest) => {
                while self.recent.front().is_some_and(|publication| publication.at.token <= oldest) {
                    self.pop();
                }
            }
            None => self.forget(),
        }
    }

    /// Whether a join is under way.
    pub(super) fn any(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The room said something.
    pub(super) fn keep(&mut self, publication: Publication) {
        if self.any() {
            self.bytes += publication.bytes();
            self.recent.push_back(publication);
            while self.bytes > MOST_KEPT_BYTES {
                self.pop();
            }
        }
    }

    fn pop(&mut self) {
        if let Some(publication) = self.recent.pop_front() {
            self.bytes -= publication.bytes();
        }
    }

    /// What was kept is of another life of the room.
    pub(super) fn forget(&mut self) {
        (self.recent, self.bytes) = (VecDeque::new(), 0);
    }

    /// What the room said since a join began, oldest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = &Publication> {
        self.recent.iter()
    }

    /// The last of it.
    pub(super) fn last(&self) -> Option<&Publication> {
        self.recent.back()
    }

    /// How many events came after `at`, and whether they lead from there to `here` without a gap.
    pub(super) fn since(&self, at: Position, here: Position) -> (u64, bool) {
        let since = || self.recent.iter().filter(|publication| publication.at.token > at.token);
        let follow = |token: u64, next: &Publication| (next.previous_token == token).then_some(next.at.token);
        (since().count() as u64, since().try_fold(at.token, follow) == Some(here.token))
    }
}
