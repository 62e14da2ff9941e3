//! Where a room stands in its events.

use serde::{Deserialize, Serialize};

/// A link in the chain of a room's events. A higher generation is after every position of a lower one, and within one the
/// sequence number counts. The token tells histories apart: where Redis came back with older data, the next events take the
/// sequence numbers of the lost ones again, but never their tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The generation: when the room began, in microseconds of Redis' clock. 0 when there is no such room.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// One more for each event of the generation.
    pub seq: u64,
    /// Of the last event: its time in microseconds of Redis' clock, and above the token of the event before it.
    pub token: u64,
}
