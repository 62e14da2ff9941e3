//! The receiving side: one task reads the subscription and hands on what it hears, in order. A probe to the own inbox
//! tells whether it still hears; an instance that is deaf is unready and subscribes again.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fred::{
    interfaces::{ClientLike as _, EventInterface as _},
    types::Message,
};
use protocol::{
    InstanceId,
    command::Outcome,
    envelope::{Envelope, Kind, Unreadable, VERSION},
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{Bus, clock::local_ms, outbox};

const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Unheard for this long, an instance is deaf.
const DEAF_AFTER_MS: u64 = 1_500;
/// Deaf for this long, it opens a new connection.
const RECONNECT_AFTER_MS: u64 = 5_000;

/// After subscribing, the own inbox is tried so often, so far apart.
const HEARD_TRIES: u32 = 100;
const HEARD_RETRY: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(crate) struct Hearing {
    heard_at_ms: AtomicU64,
    /// When the probe that is under way was sent.
    probed_at: Mutex<Option<Instant>>,
}

impl Hearing {
    fn heard(&self) {
        self.heard_at_ms.store(local_ms().max(1), Ordering::Relaxed);
    }

    fn probing(&self, since: Option<Instant>) -> Option<Instant> {
        std::mem::replace(&mut *self.probed_at.lock().unwrap_or_else(PoisonError::into_inner), since)
    }

    fn silence_ms(&self) -> u64 {
        local_ms().saturating_sub(self.heard_at_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match self.heard_at_ms.load(Ordering::Relaxed) {
            0 => Err("the own inbox has not been heard yet".to_owned()),
            _ if self.silence_ms() > DEAF_AFTER_MS => Err(format!("deaf for {} ms", self.silence_ms())),
            _ => Ok(()),
        }
    }
}

/// Reads the subscription, for ever.
pub(crate) async fn read(bus: Arc<Bus>) {
    let mut messages = bus.subscriptions.client().message_rx();
    loop {
        match messages.recv().await {
            Ok(message) => hear(&bus, &message),
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "the subscription was read too slowly; rooms are brought up to date");
                gap(&bus);
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn hear(bus: &Arc<Bus>, message: &Message) {
    let Some(text) = message.value.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
        tracing::warn!(channel = %message.channel, "dropped a message that is not text");
        return;
    };
    if !bus.subjects.is_inbox(&message.channel) {
        if let Some(listener) = bus.listener.get() {
            listener.on_event(&message.channel, text);
        }
        return;
    }
    match Envelope::read(text) {
        Ok(envelope) => take(bus, &envelope),
        Err(Unreadable::Version(version)) => {
            tracing::warn!(version, known = VERSION, "dropped a message of an unknown version");
        }
        Err(Unreadable::Malformed) => tracing::warn!("dropped a malformed message"),
    }
}

fn take(bus: &Arc<Bus>, envelope: &Envelope<'_>) {
    match envelope.kind {
        Kind::Probe => {
            bus.hearing.heard();
            if envelope.sender == bus.instance
                && let Some(sent) = bus.hearing.probing(None)
            {
                telemetry::metrics::bus_lag(sent.elapsed());
            }
        }
        Kind::Request => {
            if let Some(listener) = bus.listener.get() {
                listener.on_request(envelope);
            }
        }
        Kind::Reply => {
            for item in &envelope.items {
                match serde_json::from_str::<Outcome>(item.body.get()) {
                    Ok(outcome) => bus.requests.resolve(&item.ids, outcome),
                    Err(error) => tracing::warn!(%error, sender = %envelope.sender, "dropped an unreadable reply"),
                }
            }
        }
    }
}

pub(crate) fn gap(bus: &Bus) {
    if let Some(listener) = bus.listener.get() {
        listener.on_gap();
    }
}

/// Subscribes again after each reconnect, then has everything brought up to date.
pub(crate) async fn follow_reconnects(bus: Arc<Bus>) {
    let mut reconnects = bus.subscriptions.client().reconnect_rx();
    // Lagging is no loss here: what counts is that there was a reconnect.
    while !matches!(reconnects.recv().await, Err(RecvError::Closed)) {
        resubscribe(&bus).await;
    }
}

pub(crate) async fn resubscribe(bus: &Bus) {
    telemetry::metrics::resubscribed();
    let own = bus.subjects.inbox(bus.instance());
    if let Err(error) = bus.subscriptions.replay(&own).await {
        return tracing::warn!(%error, "could not subscribe; the probe will try again");
    }
    // A connection that broke meanwhile may have been confirmed what the next one has still to ask for.
    for _ in 0..HEARD_TRIES {
        match outbox::publish(bus, Kind::Probe, &own, Vec::new()).await {
            Ok(0) => sleep(HEARD_RETRY).await,
            Ok(_) => return gap(bus),
            Err(_) => break,
        }
    }
    bus.subscriptions.doubt().await;
}

/// Asks itself whether it still hears, for ever.
pub(crate) async fn probe(bus: Arc<Bus>) {
    let own = bus.subjects.inbox(bus.instance());
    let mut tick = interval(PROBE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if bus.subscriptions.is_incomplete() {
            resubscribe(&bus).await;
        }
        bus.hearing.probing(Some(Instant::now()));
        let receivers = outbox::publish(&bus, Kind::Probe, &own, Vec::new()).await;
        match receivers {
            Ok(0) => resubscribe(&bus).await,
            Ok(_) if bus.hearing.silence_ms() > RECONNECT_AFTER_MS => reconnect(&bus, bus.instance()).await,
            // Redis does not answer: that is not deafness, and the connection for commands says so.
            Ok(_) | Err(_) => {}
        }
    }
}

async fn reconnect(bus: &Bus, instance: &InstanceId) {
    tracing::warn!(%instance, silence_ms = bus.hearing.silence_ms(), "deaf: opening a new subscription");
    // Counts as heard, so that the new connection has its time.
    bus.hearing.heard();
    if let Err(error) = bus.subscriptions.client().force_reconnection().await {
        tracing::warn!(%error, "could not open a new subscription");
    }
}
