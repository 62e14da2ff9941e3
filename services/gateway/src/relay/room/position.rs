//! Where an event stands, as seen from a position in a room's history. A history is a chain: each event names the token of the
//! one before it, so an event of a history that forked is never taken for the next one.

use protocol::{Position, event::RoomEvent};

/// Where an event stands, as seen from a position.
pub(super) enum Place {
    /// It is the next one.
    Next,
    /// It is an earlier one, or the one that the position is of.
    Known,
    /// Something is missing before it, or it is of another history: Redis came back with older data and went on from there.
    Apart {
        /// Nothing is missing and it is later in time, so it is certainly of another history.
        forked: bool,
    },
}

impl Place {
    pub(super) fn of(event: &RoomEvent<'_>, here: Position) -> Self {
        let at = event.at;
        let is_earlier = (at.birth, at.seq) <= (here.birth, here.seq);
        let follows = at.birth == here.birth && at.seq == here.seq + 1;
        if follows && event.previous_token == here.token {
            Place::Next
        } else if is_earlier && at.token <= here.token {
            Place::Known
        } else {
            Place::Apart { forked: (is_earlier || follows) && at.token > here.token }
        }
    }
}

/// Whether two positions cannot be of one history: in time one is the later one, by their numbers it is not.
pub(super) fn contradict(one: Position, other: Position) -> bool {
    (one.birth, one.seq).cmp(&(other.birth, other.seq)) != one.token.cmp(&other.token)
}

/// Whether a room that stood at `before` may stand at `at` later, if it did not start over and its history did not fork.
pub(super) fn may_follow(before: Position, at: Position) -> bool {
    before.birth == at.birth && before <= at && !contradict(before, at)
}
