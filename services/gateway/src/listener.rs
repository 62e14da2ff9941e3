//! Passes on what the bus reports to the modules that need it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rollcall_bus::{Bus, Listener};
use rollcall_protocol::Partition;

use crate::{pending::Pending, reassert::Reassert, relay::Relay};

/// After Redis may have lost data, gateways have at least this long to restore their own: the lease of 5 s and 5 s more.
const RECOVERY: Duration = Duration::from_secs(10);

/// The gateway's listener on the bus.
pub(crate) struct GatewayListener {
    pub(crate) bus: Arc<Bus>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) reassert: Arc<Reassert>,
    pub(crate) pending: Arc<Pending>,
}

impl Listener for GatewayListener {
    fn on_event(&self, channel: &str, text: &str) {
        self.relay.on_event(channel, text);
    }

    fn on_gap(&self) {
        self.relay.on_gap();
    }

    fn on_channel_gap(&self, channel: &str) {
        self.relay.on_channel_gap(channel);
    }

    fn on_history(&self, partitions: &[Partition]) {
        let truce = self.bus.truce().map(|truce| truce.left).unwrap_or_default();
        let recovers_until = Instant::now() + RECOVERY.max(truce);
        self.pending.on_history(partitions);
        self.reassert.on_history(partitions, recovers_until);
        self.relay.on_history(partitions, recovers_until);
    }
}
