//! The time after Redis may have lost what it said of a room.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use protocol::ConnId;

/// A room that started over, or whose history forked, recovers for this long if nothing was said of a longer time: gateways
/// restore their own connections meanwhile.
pub(in crate::relay) const RECOVERY: Duration = Duration::from_secs(4);

/// Redis may have lost what it said of a room. Until the time is over, members that a snapshot lacks, or has older than the
/// roster, stay as they are: their gateways restore them, and no one is sent a false leave.
pub(super) struct Recovery {
    pub(super) until: Instant,
    /// Who was kept at the last snapshot and has not been restored since.
    pub(super) held_back: HashSet<ConnId>,
    /// Records that are older than this, in milliseconds of Redis' clock, and that the roster does not have, are of connections
    /// that left, and whose leave Redis lost: their gateways remove them. 0 before it is known.
    pub(super) since_ms: u64,
    /// The last snapshot had such records.
    pub(super) keeps_out: bool,
    /// A snapshot was asked for since it began.
    pub(super) has_asked: bool,
    /// Someone has been asked to look again when the time is over.
    pub(super) look_planned: bool,
}

impl Recovery {
    pub(super) fn new(until: Instant) -> Self {
        Self { until, held_back: HashSet::new(), since_ms: 0, keeps_out: false, has_asked: false, look_planned: false }
    }

    /// Redis said something of a connection; says whether it was the last one that was waited for.
    pub(super) fn hear(&mut self, conn: &str) -> bool {
        self.held_back.remove(conn) && self.held_back.is_empty()
    }
}
