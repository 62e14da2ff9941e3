//! Events of a room that cannot be applied yet, in the order of their arrival.

use std::collections::VecDeque;

use super::MOST_KEPT_BYTES;

/// Events that wait. Beyond [`MOST_KEPT_BYTES`] the oldest are dropped; a snapshot replaces them.
#[derive(Default)]
pub(super) struct Backlog {
    texts: VecDeque<String>,
    bytes: usize,
    /// How many events were ever kept.
    kept: u64,
}

impl Backlog {
    pub(super) fn push(&mut self, text: &str) {
        self.texts.push_back(text.to_owned());
        self.bytes += text.len();
        self.kept += 1;
        while self.bytes > MOST_KEPT_BYTES {
            self.pop();
        }
    }

    pub(super) fn pop(&mut self) -> Option<String> {
        let text = self.texts.pop_front()?;
        self.bytes -= text.len();
        Some(text)
    }

    /// The oldest event, if `is_wanted`.
    pub(super) fn pop_if(&mut self, is_wanted: impl FnOnce(&str) -> bool) -> Option<String> {
        if is_wanted(self.texts.front()?) { self.pop() } else { None }
    }

    /// Puts the oldest event back, which cannot be applied yet.
    pub(super) fn put_back(&mut self, text: String) {
        self.bytes += text.len();
        self.texts.push_front(text);
    }

    /// The number of events that were received so far. A snapshot that is fetched from now on includes all of them.
    pub(super) fn received(&self) -> u64 {
        self.kept
    }

    /// Drops the first `received` events, as far as they still wait.
    pub(super) fn drop_received(&mut self, received: u64) {
        let later = usize::try_from(self.kept.saturating_sub(received)).unwrap_or(usize::MAX);
        while self.texts.len() > later {
            self.pop();
        }
    }

    /// Drops all events and frees their memory.
    pub(super) fn clear(&mut self) {
        (self.texts, self.bytes) = (VecDeque::new(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_its_bound_the_oldest_are_dropped() {
        let mut backlog = Backlog::default();
        let text = "x".repeat(MOST_KEPT_BYTES / 4);
        for n in 0..6 {
            backlog.push(&format!("{n}{text}"));
        }
        let first = backlog.pop().unwrap();
        assert!(first.starts_with('3'), "{}", &first[..1]);
        backlog.put_back(first);
        backlog.drop_received(5);
        assert!(backlog.pop().unwrap().starts_with('5'));
        assert_eq!((backlog.pop(), backlog.bytes, backlog.received()), (None, 0, 6));
    }
}
