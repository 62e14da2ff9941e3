//! Joins under way, and the events since the oldest of them began: an answer may be processed after events that are newer.

use std::collections::{BTreeMap, VecDeque};

use rollcall_protocol::Position;

use super::{MOST_KEPT_BYTES, publication::Publication};

/// The number of a join under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::relay) struct Join(u64);

/// The joins under way.
#[derive(Default)]
pub(super) struct Joins {
    /// The token of the room's position when each join began.
    under_way: BTreeMap<Join, u64>,
    last: u64,
    recent: VecDeque<Publication>,
    bytes: usize,
}

impl Joins {
    /// A join begins while the room is at `token`; 0 if it has no position yet.
    pub(super) fn begin(&mut self, token: u64) -> Join {
        self.last += 1;
        self.under_way.insert(Join(self.last), token);
        Join(self.last)
    }

    /// A join has ended, carried out or not. Only events since the oldest remaining join began are kept.
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

    /// Keeps an event for the joins under way.
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

    /// Drops the kept events: later ones were missed, or the room is forgotten.
    pub(super) fn forget(&mut self) {
        (self.recent, self.bytes) = (VecDeque::new(), 0);
    }

    /// The kept events, oldest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = &Publication> {
        self.recent.iter()
    }

    /// The newest kept event.
    pub(super) fn last(&self) -> Option<&Publication> {
        self.recent.back()
    }

    /// The number of kept events after `at`, and whether they lead from there to `here` without a gap.
    pub(super) fn since(&self, at: Position, here: Position) -> (u64, bool) {
        let since = || self.recent.iter().filter(|publication| publication.at.token > at.token);
        let follow = |token: u64, next: &Publication| (next.previous_token == token).then_some(next.at.token);
        (since().count() as u64, since().try_fold(at.token, follow) == Some(here.token))
    }
}
