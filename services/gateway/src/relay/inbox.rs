//! The events of a room that were received and not delivered yet, in order.

use std::collections::VecDeque;

/// Beyond this, all events are dropped and replaced by a snapshot.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// The events of a room that wait to be delivered.
#[derive(Default)]
pub(super) struct Inbox {
    texts: VecDeque<String>,
    bytes: usize,
    /// The room waits for a worker, or has one.
    is_scheduled: bool,
    /// Events were dropped.
    has_lost: bool,
}

/// The result of adding an event.
pub(super) struct Pushed {
    /// The room has to be scheduled.
    pub(super) needs_turn: bool,
    /// The bytes that were dropped, including this event.
    pub(super) dropped_bytes: usize,
}

/// The result of taking an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The next event.
    Event(String),
    /// Events were dropped here.
    Loss,
    /// Nothing is left; the turn is over.
    Nothing,
}

impl Inbox {
    /// Adds an event. `fits` is whether the process has space for it.
    pub(super) fn push(&mut self, text: &str, fits: bool) -> Pushed {
        let mut dropped_bytes = 0;
        if fits && self.bytes + text.len() <= MOST_BYTES {
            self.texts.push_back(text.to_owned());
            self.bytes += text.len();
        } else {
            dropped_bytes = std::mem::take(&mut self.bytes) + text.len();
            (self.texts, self.has_lost) = (VecDeque::new(), true);
        }
        Pushed { needs_turn: !std::mem::replace(&mut self.is_scheduled, true), dropped_bytes }
    }

    /// Takes the next event.
    pub(super) fn take(&mut self) -> Taken {
        if std::mem::take(&mut self.has_lost) {
            return Taken::Loss;
        }
        if let Some(text) = self.texts.pop_front() {
            self.bytes -= text.len();
            return Taken::Event(text);
        }
        self.is_scheduled = false;
        // A quiet room keeps no memory for its inbox.
        self.texts = VecDeque::new();
        Taken::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_in_order_and_the_turn_ends_with_the_last() {
        let mut inbox = Inbox::default();
        assert!(inbox.push("a", true).needs_turn);
        assert!(!inbox.push("b", true).needs_turn, "it is scheduled already");
        assert_eq!(inbox.take(), Taken::Event("a".to_owned()));
        assert!(!inbox.push("c", true).needs_turn);
        let rest = [inbox.take(), inbox.take(), inbox.take()];
        assert_eq!(rest, [Taken::Event("b".to_owned()), Taken::Event("c".to_owned()), Taken::Nothing]);
        assert!(inbox.push("d", true).needs_turn);
    }

    #[test]
    fn an_event_that_does_not_fit_drops_all_that_wait_and_the_loss_comes_before_later_events() {
        for fits in [true, false] {
            let mut inbox = Inbox::default();
            let half = "x".repeat(MOST_BYTES / 2);
            inbox.push(&half, true);
            assert_eq!(inbox.push(&half, true).dropped_bytes, 0);
            assert_eq!(inbox.push("y", fits).dropped_bytes, MOST_BYTES + 1);
            inbox.push("z", true);
            let taken = [inbox.take(), inbox.take(), inbox.take()];
            assert_eq!(taken, [Taken::Loss, Taken::Event("z".to_owned()), Taken::Nothing]);
            assert_eq!(inbox.bytes, 0);
        }
    }
}
