//! The acknowledgements that one client has no room for yet, in order. No I/O.

use std::collections::VecDeque;

use serde_json::value::RawValue;

/// The most pending acknowledgements: more than a client can ask for in a burst that fills its buffers.
const MAX_PENDING_ACKS: usize = 8_192;
/// The most bytes of them. A single one may be larger: the answer to a join has up to 8 MiB of states.
const MAX_PENDING_BYTES: usize = 1024 * 1024;

/// The pending acknowledgements of one client.
#[derive(Default)]
pub(super) struct PendingAcks {
    acks: VecDeque<(i64, Box<RawValue>)>,
    bytes: usize,
}

impl PendingAcks {
    /// Whether an acknowledgement of so many bytes fits.
    fn has_room_for(&self, bytes: usize) -> bool {
        self.acks.is_empty() || (self.acks.len() < MAX_PENDING_ACKS && self.bytes + bytes <= MAX_PENDING_BYTES)
    }

    /// Adds one; returns whether it fits.
    pub(super) fn push(&mut self, ack_id: i64, answer: Box<RawValue>) -> bool {
        let has_room = self.has_room_for(answer.get().len());
        if has_room {
            self.bytes += answer.get().len();
            self.acks.push_back((ack_id, answer));
        }
        has_room
    }

    /// The bytes of all.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sends what can be sent. Returns `None` if nothing is left, otherwise whether anything was sent.
    pub(super) fn flush(&mut self, send: impl Fn(i64, &RawValue) -> bool) -> Option<bool> {
        let mut has_sent = false;
        while let Some((ack_id, answer)) = self.acks.front() {
            if !send(*ack_id, answer) {
                return Some(has_sent);
            }
            has_sent = true;
            self.bytes -= answer.get().len();
            self.acks.pop_front();
        }
        self.acks = VecDeque::new();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(sizes: &[usize]) -> PendingAcks {
        let mut pending = PendingAcks::default();
        for (id, size) in (1..).zip(sizes) {
            let answer = RawValue::from_string(format!("\"{}\"", "x".repeat(size - 2))).unwrap();
            assert!(pending.push(id, answer));
        }
        pending
    }

    #[test]
    fn pending_acks_are_bounded_in_bytes_and_a_single_one_is_not() {
        assert!(pending(&[]).has_room_for(8 * MAX_PENDING_BYTES));
        let half = pending(&[MAX_PENDING_BYTES / 2]);
        assert!(half.has_room_for(MAX_PENDING_BYTES / 2) && !half.has_room_for(MAX_PENDING_BYTES / 2 + 1));
        let many = pending(&[2; MAX_PENDING_ACKS]);
        assert!(!many.has_room_for(1), "and in number");
    }

    #[test]
    fn pending_acks_are_flushed_in_order_as_far_as_there_is_room() {
        let mut pending = pending(&[10, 20, 30]);
        let room = std::cell::Cell::new(2);
        let sent = std::cell::RefCell::new(Vec::new());
        let send = |id: i64, _: &RawValue| {
            let has_room = room.get() > 0;
            if has_room {
                room.set(room.get() - 1);
                sent.borrow_mut().push(id);
            }
            has_room
        };
        assert_eq!(pending.flush(send), Some(true));
        assert_eq!((pending.bytes, sent.borrow().clone()), (30, vec![1, 2]));
        assert_eq!(pending.flush(send), Some(false));
        room.set(1);
        assert_eq!(pending.flush(send), None);
        assert_eq!((pending.bytes, sent.into_inner()), (0, vec![1, 2, 3]));
    }
}
