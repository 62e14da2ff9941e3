//! How full Redis is. Scripts ask by themselves before they store metadata (`is_nearly_full`); this is for the metric, and tells
//! `fullness` when there is memory again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fred::{
    interfaces::{ClientLike as _, ClusterInterface as _},
    types::InfoKind,
};
use rollcall_telemetry::metrics::{self, Reading};
use tokio::time::{MissedTickBehavior, interval};

use super::Store;

const READ_EVERY: Duration = Duration::from_secs(5);

impl Store {
    /// Reads how full Redis is, and reports it, forever.
    pub(crate) async fn follow_memory(self: Arc<Self>) {
        let latest = Arc::new(AtomicU64::new(f64::NAN.to_bits()));
        let reported = Arc::clone(&latest);
        let ratio = move || Some(f64::from_bits(reported.load(Ordering::Relaxed))).filter(|ratio| ratio.is_finite());
        metrics::observe(Reading::RedisMemory, ratio);
        let mut tick = interval(READ_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let (ratio, is_of_all) = self.memory_ratio().await;
            if is_of_all {
                self.fullness.measured(ratio);
            }
            latest.store(ratio.unwrap_or(f64::NAN).to_bits(), Ordering::Relaxed);
        }
    }

    /// How much of `maxmemory` is used, 0 to 1, by the fullest server that answers, and whether all of them do; `None` if none has a
    /// limit.
    async fn memory_ratio(&self) -> (Option<f64>, bool) {
        let client = self.client();
        let Some(routing) = client.cached_cluster_state() else {
            let info = client.info::<String>(Some(InfoKind::Memory)).await;
            return (info.as_deref().ok().and_then(ratio), info.is_ok());
        };
        let (mut fullest, mut all_answer) = (None, true);
        for server in routing.unique_primary_nodes() {
            let info = client.with_cluster_node(server).info::<String>(Some(InfoKind::Memory)).await;
            all_answer &= info.is_ok();
            fullest = [fullest, info.as_deref().ok().and_then(ratio)].into_iter().flatten().reduce(f64::max);
        }
        (fullest, all_answer)
    }
}

/// The ratio that `INFO memory` shows; `None` without a limit. As Redis does, it leaves out what replicas and the append-only file have
/// still to be sent.
fn ratio(info: &str) -> Option<f64> {
    let number = |name: &str| -> Option<f64> {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim().parse().ok()
    };
    let most = number("maxmemory").filter(|most| *most > 0.0)?;
    Some((number("used_memory")? - number("mem_not_counted_for_evict").unwrap_or(0.0)) / most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_limit() {
        let info = |most| {
            format!(
                "# Memory\r\nused_memory:300\r\nused_memory_peak:900\r\nmaxmemory:{most}\r\nmem_not_counted_for_evict:100\r\n"
            )
        };
        assert_eq!(ratio(&info(400)), Some(0.5));
        assert_eq!((ratio(&info(0)), ratio("")), (None, None));
    }
}
