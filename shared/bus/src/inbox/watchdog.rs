//! Checks that the own inbox is received, with a probe every 0.5 s. An instance with a stale subscription is unready, subscribes
//! again, and opens a new connection if that does not help.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fred::interfaces::{ClientLike as _, ClusterInterface as _, EventInterface as _};
use parking_lot::Mutex;
use tokio::{
    sync::broadcast::error::RecvError,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::Listener;
use crate::{
    clock::local_ms,
    link::{Link, Replayed, server_of},
    redis::COMMAND_TIMEOUT,
};

const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Without a probe for this long, the subscription is stale.
const STALE_AFTER_MS: u64 = 1_500;
/// After this time without a probe, a new connection is opened.
const RECONNECT_AFTER_MS: u64 = 5_000;

/// After subscribing, the own inbox is probed this often, this far apart.
const TRIES: u32 = 100;
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// The state of the probes of the own inbox.
#[derive(Default)]
pub(crate) struct Probes {
    /// When one was last received; 0 before the first.
    received_at_ms: AtomicU64,
    /// When the probe in flight was sent.
    sent_at: Mutex<Option<Instant>>,
}

impl Probes {
    /// Records a received probe; an own one gives the latency of the bus. Returns whether it is the first.
    pub(super) fn received(&self, is_own: bool) -> bool {
        let is_first = self.received_at_ms.swap(local_ms(), Ordering::Relaxed) == 0;
        if is_own && let Some(sent_at) = self.sent_at.lock().take() {
            rollcall_telemetry::metrics::bus_lag(sent_at.elapsed());
        }
        is_first
    }

    fn refresh(&self) {
        self.received_at_ms.store(local_ms(), Ordering::Relaxed);
    }

    fn age_ms(&self) -> u64 {
        local_ms().saturating_sub(self.received_at_ms.load(Ordering::Relaxed))
    }

    /// Whether the own inbox is received.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.received_at_ms.load(Ordering::Relaxed) {
            0 => Err("nothing received on the own inbox yet".to_owned()),
            _ if self.age_ms() > STALE_AFTER_MS => {
                Err(format!("the subscription is stale: nothing received for {} ms", self.age_ms()))
            }
            _ => Ok(()),
        }
    }
}

/// Keeps the subscription alive.
pub(crate) struct Watchdog {
    pub(crate) link: Arc<Link>,
    pub(crate) probes: Arc<Probes>,
    pub(crate) listener: Arc<dyn Listener>,
    /// The subscription was found at another server than the commands, and is not back yet.
    pub(crate) is_elsewhere: AtomicBool,
}

/// Whether a probe of the own inbox finds a receiver.
enum Found {
    Receiver,
    NoReceiver,
    /// Redis did not answer.
    NoAnswer,
}

impl Watchdog {
    /// Sends probes to the own inbox, forever.
    pub(crate) async fn probe(self: Arc<Self>) {
        let mut tick = interval(PROBE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if self.link.subscriptions.is_incomplete() {
                self.replay().await;
            }
            *self.probes.sent_at.lock() = Some(Instant::now());
            match self.link.probe(&self.link.inbox).await {
                // With no receiver, too: the subscription may be at a server that is not the primary any more.
                Ok(_) if self.probes.age_ms() > RECONNECT_AFTER_MS => self.reconnect().await,
                Ok(0) => self.resubscribe_all().await,
                // A Redis that does not answer makes no subscription stale; the command connection reports it.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Subscribes again after each reconnect, then reports what may have been missed; forever.
    pub(crate) async fn follow_reconnects(self: Arc<Self>) {
        let subscriptions = &self.link.subscriptions;
        let mut reconnects = subscriptions.client().reconnect_rx();
        loop {
            match (reconnects.recv().await, subscriptions.client().cached_cluster_state()) {
                // Each primary of a cluster has a connection of its own.
                (Ok(server), Some(routing)) => {
                    self.resubscribe(|channel| server_of(&routing, channel) == Some(&server)).await;
                }
                // Lagging loses nothing: one resubscription to everything covers all reconnects.
                (Ok(_), None) | (Err(RecvError::Lagged(_)), _) => self.resubscribe_all().await,
                (Err(RecvError::Closed), _) => return,
            }
        }
    }

    /// Subscribes to everything again, and reports a gap in every room.
    async fn resubscribe_all(&self) {
        self.link.subscriptions.invalidate_all();
        self.replay().await;
    }

    /// Subscribes again to the channels that are lost, and reports a gap in each.
    pub(super) async fn resubscribe(&self, is_lost: impl Fn(&str) -> bool) {
        self.link.subscriptions.invalidate(is_lost);
        self.replay().await;
    }

    /// Subscribes to what is due, and reports the gaps; if the own inbox is due, once that is received.
    async fn replay(&self) {
        rollcall_telemetry::metrics::resubscribed();
        let replayed = self.link.subscriptions.replay(&self.link.inbox).await;
        if replayed.has(&self.link.inbox) {
            let found = self.probe_inbox().await;
            if !matches!(found, Found::Receiver) {
                match replayed {
                    Replayed::All => self.link.subscriptions.invalidate_all(),
                    some @ Replayed::Some(_) => self.link.subscriptions.invalidate(|channel| some.has(channel)),
                }
                // A cluster's slots are followed by `topology`.
                if matches!(found, Found::NoReceiver) && !self.link.is_clustered() {
                    self.leave_server().await;
                }
                return;
            }
            self.is_elsewhere.store(false, Ordering::Relaxed);
        }
        match replayed {
            Replayed::All => self.listener.on_gap(),
            Replayed::Some(channels) => {
                let rooms = channels.iter().filter(|channel| **channel != self.link.inbox);
                rooms.for_each(|channel| self.listener.on_channel_gap(channel));
            }
        }
    }

    /// If the connection broke meanwhile, the confirmations may belong to the old one.
    async fn probe_inbox(&self) -> Found {
        for _ in 0..TRIES {
            match self.link.probe(&self.link.inbox).await {
                Ok(0) => sleep(RETRY_AFTER).await,
                Ok(_) => return Found::Receiver,
                Err(_) => return Found::NoAnswer,
            }
        }
        Found::NoReceiver
    }

    /// Redis confirmed the subscription, and the server that takes commands does not have it: the subscription is at a primary that was
    /// demoted. That one may even deliver probes, which the new primary replicates to it.
    async fn leave_server(&self) {
        if !self.is_elsewhere.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the subscription is at another server than the commands; opening new connections until it is not"
            );
        }
        self.open_connection().await;
    }

    async fn reconnect(&self) {
        tracing::warn!(silence_ms = self.probes.age_ms(), "stale subscription: opening a new connection");
        // Counts as received, so that the new connection has time to start.
        self.probes.refresh();
        self.open_connection().await;
    }

    async fn open_connection(&self) {
        // fred answers only once it has reconnected, and goes on trying by itself.
        let _ = timeout(COMMAND_TIMEOUT, self.link.subscriptions.client().force_reconnection()).await;
    }
}
