//! The state of the bus: whether Redis answers, how old the lease is, whether a truce forbids evictions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rollcall_protocol::Partition;
use rollcall_telemetry::metrics::{self, Reading};

use crate::{Bus, Role, Truce, View, Why, clock::local_ms, directory::Directory};

impl Bus {
    /// Registers the gauges of the bus.
    pub(crate) fn register_metrics(&self) {
        let observe = |reading, read: fn(&Directory) -> f64| {
            let directory = Arc::clone(&self.directory);
            metrics::observe(reading, move || Some(read(&directory)));
        };
        observe(Reading::RedisUp, |directory| f64::from(directory.check_redis().is_ok()));
        let probes = Arc::clone(&self.probes);
        metrics::observe(Reading::SubscriptionStale, move || Some(f64::from(probes.check().is_err())));
        let (begun, directory) = (Instant::now(), Arc::clone(&self.directory));
        let age = move || directory.lease_age_ms().map_or_else(|| begun.elapsed(), Duration::from_millis);
        metrics::observe(Reading::LeaseAge, move || Some(age().as_secs_f64()));
        for why in [Why::Start, Why::Silence, Why::History, Why::Clock] {
            let directory = Arc::clone(&self.directory);
            let is_on = move || f64::from(directory.truce().is_some_and(|truce| truce.why == why));
            metrics::observe(Reading::TruceActive(why.as_str()), move || Some(is_on()));
        }
        // presence-state answers and asks nothing.
        if self.role != Role::State {
            let pending = Arc::clone(&self.pending);
            metrics::observe(Reading::RequestsPending, move || Some(pending.count() as f64));
        }
    }

    /// The live instances, as of the last exchange with Redis.
    pub fn view(&self) -> Arc<View> {
        self.directory.view()
    }

    /// Whether Redis is connected and has acknowledged an exchange within the last 1.5 s.
    ///
    /// # Errors
    /// What is wrong, in Redis' own words where it gave any (`not connected: WRONGPASS …`).
    pub fn check_redis(&self) -> Result<(), String> {
        self.directory.check_redis()
    }

    /// The truce, if one is active: no one may be evicted. A truce begins with the own start, when Redis has not acknowledged an
    /// exchange for 1.5 s (and lasts while it does not), when Redis has another replication id, and when its clock stepped. It
    /// lasts 10 s. On a cluster only the directory's primary counts, because evictions depend on leases alone.
    pub fn truce(&self) -> Option<Truce> {
        self.directory.truce()
    }

    /// The age of the own lease: the time since the last acknowledged renewal was sent; `None` before the first. An error is no
    /// acknowledgement. At most 0.75 s plus one round trip while all is healthy; the lease ends at 5 s.
    pub fn lease_age(&self) -> Option<Duration> {
        self.directory.lease_age_ms().map(Duration::from_millis)
    }

    /// When the leases of all instances in [`view`](Self::view) were last known to be held, in milliseconds of Redis' clock.
    pub fn seen_ms(&self) -> u64 {
        self.directory.seen_ms()
    }

    /// The last moment at which the server of a partition was known to have lost nothing, in milliseconds of its clock: its last
    /// answer, or, for 10 s after a fault was noticed, its last answer before the fault. 0 before the first answer.
    pub fn calm_ms(&self, partition: Partition) -> u64 {
        self.histories.calm_ms(partition).unwrap_or_else(|| self.directory.calm_ms())
    }

    /// Redis' clock in milliseconds, estimated from its last answer.
    pub fn redis_now_ms(&self) -> u64 {
        self.directory.redis_now_ms()
    }

    /// The clock of a partition's server, in milliseconds since 1970. On a cluster each primary has its own.
    pub fn redis_now_ms_of(&self, partition: Partition) -> u64 {
        let offset_ms = if self.link.is_clustered() { self.histories.clock_offset_ms(partition) } else { None };
        offset_ms.map_or_else(|| self.redis_now_ms(), |offset_ms| local_ms().saturating_add_signed(offset_ms))
    }

    /// Translates a time of the hosts' clock into the clock of a partition's server. Both are milliseconds since 1970.
    pub fn redis_time_ms(&self, partition: Partition, wall_clock_ms: u64) -> u64 {
        let from_now_ms = wall_clock_ms as i64 - rollcall_protocol::envelope::wall_clock_ms() as i64;
        self.redis_now_ms_of(partition).saturating_add_signed(from_now_ms)
    }

    /// Notifies of every change of [`view`](Self::view); its value is the number of changes.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.directory.changes()
    }

    /// Waits for a view read after this call: every instance that holds its lease by then is in it. Takes 50 ms or more; `false` if
    /// none came within 250 ms. Call it before acting on the absence of an instance.
    pub async fn look_again(&self) -> bool {
        self.directory.refresh().await
    }

    /// Whether the own inbox is received.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_inbox(&self) -> Result<(), String> {
        self.probes.check().map_err(|error| match self.link.subscriptions.failure() {
            Some(why) => format!("{error}: {why}"),
            None => error,
        })?;
        match self.directory.lease_age_ms() {
            Some(_) => Ok(()),
            None => Err("not in the directory yet".to_owned()),
        }
    }

    /// Whether a presence-state instance is alive.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_states(&self) -> Result<(), String> {
        if self.view().peers(Role::State).is_empty() { Err("no instance is alive".to_owned()) } else { Ok(()) }
    }
}
