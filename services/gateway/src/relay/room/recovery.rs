//! The recovery of a room after Redis may have lost data.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rollcall_protocol::ConnId;

/// How long a room recovers that started over, or whose history forked, unless a truce lasts longer. Gateways restore their own
/// connections meanwhile.
pub(in crate::relay) const RECOVERY: Duration = Duration::from_secs(4);

/// Redis may have lost data of a room. Until the recovery is over, members that a snapshot lacks, or has older than the roster,
/// stay as they are: their gateways restore them, and no one is sent a false leave.
pub(super) struct Recovery {
    pub(super) until: Instant,
    /// Members that the last snapshot lacked or had older, and that have not been restored since.
    pub(super) held_back: HashSet<ConnId>,
    /// A record that is older than this, in milliseconds of Redis' clock, and not in the roster, is of a connection whose leave
    /// Redis lost: its gateway removes it. 0 before it is known.
    pub(super) since_ms: u64,
    /// Whether the last snapshot had such records.
    pub(super) keeps_out: bool,
    /// Whether a snapshot was requested since the recovery began.
    pub(super) has_asked: bool,
    /// Whether a repair is scheduled for the end of the recovery.
    pub(super) look_planned: bool,
}

impl Recovery {
    pub(super) fn new(until: Instant) -> Self {
        Self { until, held_back: HashSet::new(), since_ms: 0, keeps_out: false, has_asked: false, look_planned: false }
    }

    /// An event of a connection came; returns whether it was the last one that was held back.
    pub(super) fn hear(&mut self, conn: &str) -> bool {
        self.held_back.remove(conn) && self.held_back.is_empty()
    }
}
