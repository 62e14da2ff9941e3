//! The revocations that a process knows. No I/O and no clock.

use std::collections::HashMap;

/// The copy of the list.
#[derive(Debug, Default)]
pub(super) struct Known {
    revoked: HashMap<Box<str>, Revoked>,
    /// The number of the last revocation that was read.
    last: u64,
    is_complete: bool,
}

#[derive(Debug, Clone, Copy)]
struct Revoked {
    /// What was issued before, in seconds since 1970.
    issued_before: u64,
    /// Also the time at which it was revoked, in microseconds.
    number: u64,
}

impl Known {
    /// The number of the last revocation that was read, 0 for none.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Whether the whole list was read.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    pub(super) fn covers(&self, subject: &str, issued_at: u64) -> bool {
        self.revoked.get(subject).is_some_and(|revoked| issued_at < revoked.issued_before)
    }

    /// Applies a page of the list: subject, moment and number of each. Returns whether anything was new.
    pub(super) fn apply(&mut self, page: &[String]) -> bool {
        for [subject, moment, number] in page.as_chunks().0 {
            let (Ok(moment), Ok(number)) = (moment.parse(), number.parse()) else { continue };
            let known = self.revoked.get(subject.as_str()).map_or(0, |known| known.issued_before);
            let revoked = Revoked { issued_before: known.max(moment), number };
            self.revoked.insert(subject.as_str().into(), revoked);
            self.last = self.last.max(number);
        }
        !page.is_empty()
    }

    /// Forgets what was revoked before `moment`, in microseconds: no token that was issued before that is valid any more.
    pub(super) fn end_before(&mut self, moment: u64) {
        self.revoked.retain(|_, revoked| revoked.number >= moment);
    }

    /// Everything that Redis has was read; it has `recorded` entries that have not ended. Returns what has to be written again if
    /// Redis lost some.
    pub(super) fn complete(&mut self, recorded: usize) -> Option<Vec<(String, u64)>> {
        self.is_complete = true;
        if recorded >= self.revoked.len() {
            return None;
        }
        // Numbers that are issued from now on may be below `last` if the clock went back, too.
        self.last = 0;
        Some(self.revoked.iter().map(|(subject, revoked)| (subject.to_string(), revoked.issued_before)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(entries: &[(&str, u64, u64)]) -> Vec<String> {
        entries
            .iter()
            .flat_map(|(subject, moment, number)| [(*subject).to_owned(), moment.to_string(), number.to_string()])
            .collect()
    }

    #[test]
    fn what_was_issued_before_the_moment_is_covered() {
        let mut known = Known::default();
        assert!(!known.is_complete());
        assert!(known.apply(&page(&[("sub:ann", 100, 7), ("jti:x", 90, 8)])) && !known.apply(&[]));
        assert!(known.covers("sub:ann", 99) && !known.covers("sub:ann", 100) && !known.covers("sub:ben", 0));
        known.apply(&page(&[("sub:ann", 50, 9)]));
        assert!(known.covers("sub:ann", 99), "a moment never goes back");
        assert_eq!((known.complete(2), known.last(), known.is_complete()), (None, 9, true));
    }

    #[test]
    fn what_ended_is_forgotten_and_what_redis_lost_is_kept() {
        let mut known = Known::default();
        known.apply(&page(&[("sub:ann", 100, 5_000_000), ("sub:ben", 100, 9_000_000)]));
        known.end_before(6_000_000);
        assert!(!known.covers("sub:ann", 1) && known.covers("sub:ben", 1));
        assert_eq!(known.complete(0), Some(vec![("sub:ben".to_owned(), 100)]));
        assert_eq!(known.last(), 0, "the list is read from the start");
        assert!(known.covers("sub:ben", 1));
    }
}
