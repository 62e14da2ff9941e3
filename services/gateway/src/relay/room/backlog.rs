//! Events of a room that cannot be applied yet, as they came.

use std::collections::VecDeque;

use super::MOST_KEPT_BYTES;

/// See the module. Beyond its bounds the oldest events go; a snapshot takes their place.
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

    /// The oldest event did not fit and waits on.
    pub(super) fn put_back(&mut self, text: String) {
        self.bytes += text.len();
        self.texts.push_front(text);
    }

    /// How far the room has been heard; a snapshot that is fetched from here on knows all of it.
    pub(super) fn heard(&self) -> u64 {
        self.kept
    }

    /// Drops what was kept before the room was `heard` so far and still waits.
    pub(super) fn drop_heard(&mut self, heard: u64) {
        let later = usize::try_from(self.kept.saturating_sub(heard)).unwrap_or(usize::MAX);
        while self.texts.len() > later {
            self.pop();
        }
    }

    /// Drops everything, and the space for it: a room at rest keeps none.
    pub(super) fn clear(&mut self) {
        (self.texts, self.bytes) = (VecDeque::new(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_its_bytes_the_oldest_go() {
        let mut backlog = Backlog::default();
        let text = "x".repeat(MOST_KEPT_BYTES / 4);
        for n in 0..6 {
            backlog.push(&format!("{n}{text}"));
        }
        let first = backlog.pop().unwrap();
        assert!(first.starts_with('3'), "{}", &first[..1]);
        backlog.put_back(first);
        backlog.drop_heard(5);
        assert!(backlog.pop().unwrap().starts_with('5'));
        assert_eq!((backlog.pop(), backlog.bytes, backlog.heard()), (None, 0, 6));
    }
}
