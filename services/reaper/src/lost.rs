//! Gateways whose lease ended and that still have records: since when, and what was evicted. No I/O and no clock.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use rollcall_protocol::InstanceId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lost(HashMap<InstanceId, Loss>);

#[derive(Debug)]
struct Loss {
    since: Instant,
    total: Total,
}

/// The totals of one gateway's evictions.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Total {
    /// Connections.
    pub(crate) evicted: u64,
    /// Rooms that changed. A room that took several steps counts once per step.
    pub(crate) rooms: u64,
}

impl Lost {
    /// Records the gateways found with records and without a lease, `everywhere` or in some partitions. Returns how long the first of
    /// them has been lost.
    pub(crate) fn found(&mut self, gone: &HashSet<InstanceId>, everywhere: bool, now: Instant) -> Duration {
        self.0.retain(|gateway, _| !everywhere || gone.contains(gateway));
        for gateway in gone {
            self.0.entry(gateway.clone()).or_insert(Loss { since: now, total: Total::default() });
        }
        self.0.values().map(|loss| now.duration_since(loss.since)).max().unwrap_or_default()
    }

    /// Adds evicted connections to a gateway's totals.
    pub(crate) fn evicted(&mut self, gateway: &InstanceId, evicted: u64, rooms: u64) {
        if let Some(Loss { total, .. }) = self.0.get_mut(gateway) {
            total.evicted += evicted;
            total.rooms += rooms;
        }
    }

    /// The finished gateways with their totals: all except those that have something `left`. Each is returned once.
    pub(crate) fn done(&mut self, left: &HashSet<InstanceId>) -> Vec<(InstanceId, Total)> {
        let done = self.0.iter_mut().filter(|(gateway, loss)| loss.total.evicted > 0 && !left.contains(*gateway));
        done.map(|(gateway, loss)| (gateway.clone(), std::mem::take(&mut loss.total))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_reported_once_with_all_evictions() {
        let (a, b): (InstanceId, InstanceId) = ("presence-gateway-a".into(), "presence-gateway-b".into());
        let mut lost = Lost::default();
        let now = Instant::now();
        let both = HashSet::from([a.clone(), b.clone()]);
        assert_eq!(lost.found(&both, true, now), Duration::ZERO);
        lost.evicted(&a, 200, 3);
        lost.evicted(&b, 1, 1);
        let left = HashSet::from([a.clone()]);
        assert_eq!(lost.done(&left), [(b.clone(), Total { evicted: 1, rooms: 1 })]);
        assert_eq!(lost.found(&left, true, now + Duration::from_secs(3)), Duration::from_secs(3), "it is still there");
        lost.evicted(&a, 50, 1);
        assert_eq!(lost.done(&HashSet::new()), [(a, Total { evicted: 250, rooms: 4 })]);
        assert_eq!(lost.done(&HashSet::new()), []);
        let none = HashSet::new();
        assert_eq!(
            lost.found(&none, false, now + Duration::from_secs(6)),
            Duration::from_secs(6),
            "it may be elsewhere"
        );
        assert_eq!(lost.found(&none, true, now + Duration::from_secs(9)), Duration::ZERO);
    }
}
