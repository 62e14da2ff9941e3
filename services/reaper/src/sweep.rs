//! The sweep: every few seconds, and at once when an instance appears or disappears, this reaper reads its partitions and has
//! presence-state end what is due there, and the records of gateways whose lease has ended.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{TryStreamExt as _, stream};
use parking_lot::Mutex;
use rollcall_bus::{Bus, Role, View};
use rollcall_protocol::{InstanceId, Partition};
use rollcall_telemetry::metrics;
use tokio::time::{MissedTickBehavior, interval};
use tracing::Span;

use crate::{
    gauges::Gauges,
    look::{Seen, look},
    lost::Lost,
    reap::{Task, reap},
};

/// Partitions processed concurrently.
const CONCURRENT_PARTITIONS: usize = 32;

/// The totals of one cycle.
#[derive(Debug, Default)]
pub(crate) struct Cycle {
    /// Connections evicted, and rooms changed.
    pub(crate) evicted: u64,
    pub(crate) rooms: u64,
    /// Gateways that have something left for the next cycle.
    pub(crate) left: HashSet<InstanceId>,
}

/// State kept from one cycle to the next.
#[derive(Default)]
pub(crate) struct Sweeper {
    lost: Mutex<Lost>,
    cycle: Mutex<Cycle>,
    /// Partitions that cannot be processed; each is logged once.
    broken: Mutex<HashSet<Partition>>,
    /// Why the last cycle was cut short.
    fault: Mutex<Option<String>>,
}

/// Sweeps, forever.
pub(crate) async fn run(bus: Arc<Bus>, every: Duration) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = bus.changes();
    let (sweeper, gauges) = (Sweeper::default(), Gauges::registered());
    let mut paused = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            // The sender lives as long as the bus.
            _ = changes.changed() => {}
        }
        let truce = bus.truce();
        if let Some(truce) = truce.filter(|_| !paused) {
            tracing::info!(why = truce.why.as_str(), "evictions paused by a truce");
        }
        paused = truce.is_some();
        sweeper.cycle(&bus, &gauges, paused).await;
    }
}

impl Sweeper {
    /// Finds work and, unless evictions are paused, does it.
    async fn cycle(&self, bus: &Arc<Bus>, gauges: &Gauges, paused: bool) {
        let began = Instant::now();
        let span = rollcall_telemetry::span::reaper_cycle();
        *self.cycle.lock() = Cycle::default();
        let (seen, fault) = self.look(bus).await;
        let scanned = seen.len() as u64;
        let lag = if paused { Duration::ZERO } else { self.record_lost(&seen, &bus.view(), fault.is_none()) };
        gauges.set(lag, seen.iter().map(|seen| seen.rooms).sum());
        let due = if paused { Vec::new() } else { seen };
        let result = self.work(bus, &span, due).await.and(fault.map_or(Ok(()), Err));
        let Cycle { evicted, rooms, left } = std::mem::take(&mut *self.cycle.lock());
        span.record("reaper.scanned", scanned as i64)
            .record("reaper.evicted", evicted as i64)
            .record("reaper.rooms_changed", rooms as i64)
            .record("reaper.lag_ms", lag.as_millis() as i64);
        metrics::reaper_cycle(began.elapsed(), scanned, rooms);
        if !paused {
            span.in_scope(|| self.conclude(&span, result, &left));
        }
    }

    /// Reads this reaper's partitions; also returns why some of them could not be read.
    async fn look(&self, bus: &Bus) -> (Vec<Seen>, Option<String>) {
        let view = bus.view();
        let own: Vec<_> = Partition::all().filter(|partition| is_ours(&view, bus.instance(), *partition)).collect();
        let (seen, error) = look(bus, &own, view.peers(Role::Gateway).len()).await;
        for Seen { partition, error, .. } in &seen {
            if let Some(error) = error {
                self.record_broken(*partition, error);
            }
        }
        (seen, error.map(|error| error.to_string()))
    }

    /// Records lost gateways, as far as partitions were read. Returns how long the most overdue work has been due.
    fn record_lost(&self, seen: &[Seen], view: &View, everywhere: bool) -> Duration {
        let gone = seen.iter().flat_map(|seen| &seen.gateways).filter(|gateway| !view.is_alive(gateway)).cloned();
        let lost = self.lost.lock().found(&gone.collect(), everywhere, Instant::now());
        let overdue_ms = seen.iter().filter_map(|seen| seen.overdue_ms).max().unwrap_or_default();
        lost.max(Duration::from_millis(overdue_ms))
    }

    /// Does the work that was found.
    async fn work(&self, bus: &Arc<Bus>, span: &Span, seen: Vec<Seen>) -> Result<(), String> {
        let lost = |seen: &Seen, view: &View| seen.gateways.iter().any(|gateway| !view.is_alive(gateway));
        let view = bus.view();
        if seen.iter().any(|seen| lost(seen, &view)) && !bus.look_again().await {
            // A gateway may have registered after the view was read, and written records before the partitions were read.
            return Err("no newer view of the directory; nothing was evicted".to_owned());
        }
        let view = bus.view();
        let tasks = seen.into_iter().filter_map(|seen| {
            let (partition, is_fine) = (seen.partition, seen.error.is_none());
            let task = Task::of(seen, &view);
            if task.is_none() && is_fine {
                self.record_healthy(partition);
            }
            task
        });
        let work = stream::iter(tasks.map(Ok));
        work.try_for_each_concurrent(CONCURRENT_PARTITIONS, |task| reap(self, bus, span, task)).await
    }

    /// Adds the result of one step.
    pub(crate) fn evicted(&self, gateway: Option<&InstanceId>, evicted: u64, rooms: u64) {
        let mut cycle = self.cycle.lock();
        cycle.evicted += evicted;
        cycle.rooms += rooms;
        if let Some(gateway) = gateway {
            self.lost.lock().evicted(gateway, evicted, rooms);
        }
    }

    /// Leaves something of a gateway to the next cycle.
    pub(crate) fn leave_for_next(&self, gateway: Option<&InstanceId>) {
        self.cycle.lock().left.extend(gateway.cloned());
    }

    /// Records a partition that cannot be processed; logs it once.
    pub(crate) fn record_broken(&self, partition: Partition, fault: &str) {
        if self.broken.lock().insert(partition) {
            tracing::error!(%partition, fault, "partition cannot be cleaned; retried every cycle");
        }
    }

    /// Records a partition that was processed or has no work.
    pub(crate) fn record_healthy(&self, partition: Partition) {
        self.broken.lock().remove(&partition);
    }

    fn conclude(&self, span: &Span, result: Result<(), String>, left: &HashSet<InstanceId>) {
        let mut last = self.fault.lock();
        match result {
            Ok(()) => {
                *last = None;
                for (gateway, total) in self.lost.lock().done(left) {
                    let (evicted, rooms) = (total.evicted, total.rooms);
                    tracing::warn!(%gateway, evicted, rooms, "gateway lease expired");
                }
            }
            Err(fault) => {
                rollcall_telemetry::span::fail(span, "sweep", &fault);
                if last.as_ref() != Some(&fault) {
                    tracing::warn!(fault, "cycle cut short; the rest is left to the next cycle");
                }
                *last = Some(fault);
            }
        }
    }
}

/// Whether this reaper is responsible for a partition.
fn is_ours(view: &View, own: &InstanceId, partition: Partition) -> bool {
    view.serving(Role::Reaper, &partition.to_string()) == Some(own)
}
