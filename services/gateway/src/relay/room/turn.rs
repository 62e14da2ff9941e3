//! A turn of sending members what they missed.

use std::cell::Cell;

/// What may be sent in a turn, and what was.
pub(super) struct Turn {
    most: usize,
    sent: Cell<usize>,
}

impl Turn {
    /// Ends with the message that makes it so many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self { most: bytes, sent: Cell::new(0) }
    }

    /// Has no end: for what cannot be divided.
    pub(super) fn endless() -> Self {
        Self::of(usize::MAX)
    }

    pub(super) fn is_over(&self) -> bool {
        self.sent.get() >= self.most
    }

    /// The bytes that were sent.
    pub(super) fn sent(&self) -> usize {
        self.sent.get()
    }

    /// Sends a message of so many bytes with `send`, unless the turn is over; returns whether it was sent.
    pub(super) fn send(&self, bytes: usize, send: impl FnOnce() -> bool) -> bool {
        let sent = !self.is_over() && send();
        if sent {
            self.sent.set(self.sent.get().saturating_add(bytes));
        }
        sent
    }
}
