//! Compares an event with a position in a room's history. A history is a chain: each event has the token of the one before it,
//! so an event of a history that forked is never taken for the next one.

use rollcall_protocol::{Position, event::RoomEvent};

/// Where an event is relative to a position.
pub(super) enum Place {
    /// It is the next event.
    Next,
    /// It is the event of the position, or an earlier one.
    Known,
    /// An event before it is missing, or it is of another history: Redis came back with older data and continued from there.
    Apart {
        /// No event is missing and it is later in time, so it is certainly of another history.
        forked: bool,
    },
}

impl Place {
    pub(super) fn of(event: &RoomEvent<'_>, here: Position) -> Self {
        let at = event.at;
        let is_earlier = (at.generation, at.seq) <= (here.generation, here.seq);
        let follows = at.generation == here.generation && at.seq == here.seq + 1;
        if follows && event.previous_token == here.token {
            Place::Next
        } else if is_earlier && at.token <= here.token {
            Place::Known
        } else {
            Place::Apart { forked: (is_earlier || follows) && at.token > here.token }
        }
    }
}

/// Whether two positions cannot be of one history: the one that is later in time is not later by its numbers.
pub(super) fn contradict(one: Position, other: Position) -> bool {
    (one.generation, one.seq).cmp(&(other.generation, other.seq)) != one.token.cmp(&other.token)
}

/// Whether a room can get from `before` to `at` without starting over and without a fork of its history.
pub(super) fn may_follow(before: Position, at: Position) -> bool {
    before.generation == at.generation && before <= at && !contradict(before, at)
}
