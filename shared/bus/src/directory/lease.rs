//! The own lease: renewed every 0.75 s, in one exchange that also returns which instances joined and left.

use std::{
    sync::{Arc, LazyLock, atomic::Ordering},
    time::Duration,
};

use fred::{error::Error, interfaces::ClientLike as _};
use futures_util::future;
use rollcall_protocol::InstanceId;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{
    Directory,
    contact::Exchange,
    history::Histories,
    instances::ListVersion,
    truce::{LEASE_MS, TRUCE_MS},
};
use crate::{
    clock::local_ms,
    link::{CanReceive, Link},
    redis::{COMMAND_TIMEOUT, is_answer, reason},
    script::Script,
};

const RENEW_EVERY: Duration = Duration::from_millis(750);
/// A failed renewal is retried sooner: a single failure must not count as silence of Redis.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// The answers of a server that is not the primary, or not yet. It keeps its connections open.
const NO_PRIMARY: [&str; 3] = ["READONLY", "MASTERDOWN", "LOADING"];
/// While no primary is found, new connections are opened again after this time, as a name may lead to the new one a little later; then
/// after twice the time each, as each has every room subscribed again.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
const RECONNECT_AT_MOST: Duration = Duration::from_secs(8);
/// The whole list is read again this often, as a safety net against missed changes. With 1,000 instances a list takes 190 µs of
/// Redis' thread, and all renewals, each on a connection of its own, take 4.1 % of it (5.3 % at one every 0.5 s).
const LIST_EVERY: Duration = Duration::from_secs(30);
/// Requested refreshes come no faster than this, however many callers ask.
const REFRESH_EVERY: Duration = Duration::from_millis(50);

static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new("directory_renew", include_str!("../scripts/directory_renew.lua")));
static LIST: LazyLock<Script> =
    LazyLock::new(|| Script::new("directory_list", include_str!("../scripts/directory_list.lua")));

/// The renewal loop.
pub(crate) struct Lease {
    link: Arc<Link>,
    directory: Arc<Directory>,
    histories: Arc<Histories>,
    listed_at: Option<Instant>,
    can_receive: CanReceive,
    /// Set once the inbox was received. Before that there is no lease: an instance that others find in the directory and cannot
    /// reach counts as gone.
    is_registered: bool,
    /// When new connections were last opened because the server is not the primary, and how long they are waited for.
    reconnected: Option<(Instant, Duration)>,
    /// How many exchanges have failed since the last one that did not.
    failures: u32,
}

/// Ends the own lease.
pub(crate) async fn deregister(link: &Link, directory: &Directory) {
    directory.leaving.store(true, Ordering::Relaxed);
    let renewed =
        RENEW.run::<Renewed>(&link.commands, keys(link), vec![link.instance.as_str().into(), 0.into(), 0.into()]);
    if !matches!(timeout(COMMAND_TIMEOUT, renewed).await, Ok(Ok(_))) {
        tracing::warn!("own directory entry not removed; the lease will end by itself");
    }
}

/// Now, last change, replication id, whether the lease was still held, whether the changes are complete, the changes, leases of
/// instances that were found gone.
type Renewed = (u64, u64, String, bool, bool, Vec<String>, Vec<u64>);
/// Last change, replication id, instances.
type Listed = (u64, String, Vec<String>);

fn keys(link: &Link) -> Vec<String> {
    vec![link.subjects.leases(), link.subjects.changes(), link.subjects.change_log()]
}

impl Lease {
    pub(crate) fn new(
        link: Arc<Link>,
        directory: Arc<Directory>,
        histories: Arc<Histories>,
        can_receive: CanReceive,
    ) -> Self {
        Self {
            link,
            directory,
            histories,
            listed_at: None,
            can_receive,
            is_registered: false,
            reconnected: None,
            failures: 0,
        }
    }

    /// Renews the own lease until it is deregistered, and refreshes the view forever.
    pub(crate) async fn renew(mut self) {
        let directory = Arc::clone(&self.directory);
        let mut tick = interval(RENEW_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = directory.refresh_wanted.notified() => sleep(REFRESH_EVERY).await,
            }
            let number = directory.begun.fetch_add(1, Ordering::SeqCst) + 1;
            match self.exchange().await {
                Ok(()) => {
                    directory.answered_at_ms.store(local_ms(), Ordering::Relaxed);
                    if directory.last_error.clear() {
                        tracing::info!("Redis answers again");
                    }
                    self.reconnected = None;
                    self.failures = 0;
                    directory.done.send_replace(number);
                }
                Err(error) => {
                    self.failed(&error);
                    self.find_primary(&error).await;
                    tick.reset_after(RETRY_AFTER);
                }
            }
            if directory.truces().ended(local_ms()) {
                tracing::info!("eviction truce ended");
            }
        }
    }

    fn failed(&mut self, error: &Error) {
        self.failures += 1;
        let last_error = &self.directory.last_error;
        let why = reason(&self.link.commands, error, true);
        if is_answer(error) {
            self.directory.answered_at_ms.store(local_ms(), Ordering::Relaxed);
            if last_error.record(&why) {
                tracing::warn!(error = why, "lease renewal refused by Redis; clients are answered UNAVAILABLE");
            }
        } else if (self.link.is_connected() || self.failures > 1)
            && last_error.get().is_none()
            && last_error.record(&why)
        {
            // A connection that cannot be opened reports that itself, within 2 s and more precisely.
            tracing::warn!(error = why, "Redis does not answer; clients are answered UNAVAILABLE until it does");
        }
    }

    /// A primary that was demoted keeps its connections open, answers every write `READONLY`, and delivers no events. New connections
    /// find the new primary, by name or by Sentinel.
    async fn find_primary(&mut self, error: &Error) {
        // A cluster's slots are followed by `topology`, and new connections would be to all of its servers.
        if self.link.is_clustered() || !NO_PRIMARY.iter().any(|code| error.details().starts_with(code)) {
            return;
        }
        let wait = match self.reconnected {
            Some((at, wait)) if at.elapsed() < wait => return,
            Some((_, wait)) => (2 * wait).min(RECONNECT_AT_MOST),
            None => {
                tracing::warn!("this server is not the primary; opening new connections until one is");
                RECONNECT_AFTER
            }
        };
        self.reconnected = Some((Instant::now(), wait));
        // fred answers only once it has reconnected, and goes on trying by itself.
        let both = future::join(
            self.link.commands.force_reconnection(),
            self.link.subscriptions.client().force_reconnection(),
        );
        let _ = timeout(COMMAND_TIMEOUT, both).await;
    }

    async fn exchange(&mut self) -> Result<(), Error> {
        let (link, directory) = (&self.link, &self.directory);
        self.is_registered |= (self.can_receive)();
        let has_lease = self.is_registered && !directory.leaving.load(Ordering::Relaxed);
        let lease_ms = if has_lease { LEASE_MS as i64 } else { 0 };
        let (known, gone) = {
            let instances = directory.instances.lock();
            (instances.last_change(), instances.gone())
        };
        let known = if self.listed_at.is_none_or(|at| at.elapsed() >= LIST_EVERY) { 0 } else { known as i64 };
        let mut args = vec![link.instance.as_str().into(), lease_ms.into(), known.into()];
        args.extend(gone.iter().map(|instance| instance.as_str().into()));

        let sent_ms = local_ms();
        let (redis_ms, change, replication_id, still_held, complete, changes, leases) =
            link.run::<Renewed>(&RENEW, keys(link), args).await?;
        let exchange = Exchange { sent_ms, answered_ms: local_ms(), redis_ms, replication_id: replication_id.clone() };
        let changes = changes.chunks_exact(2).map(|one| (one[0].as_str().into(), one[1] == "1")).collect();
        let version = ListVersion { replication_id, change };
        let applied = directory.instances.lock().apply(version, complete.then_some(changes));
        if !applied {
            let (change, replication_id, names) =
                link.run::<Listed>(&LIST, keys(link)[..2].to_vec(), Vec::new()).await?;
            let names = names.into_iter().map(InstanceId::from);
            directory.instances.lock().replace(ListVersion { replication_id, change }, names);
            self.listed_at = Some(Instant::now());
        }
        self.acknowledged(exchange, still_held || lease_ms == 0);
        let mut instances = self.directory.instances.lock();
        instances.check_gone(gone.into_iter().zip(leases));
        self.directory.publish(&instances);
        self.directory.seen_ms.store(redis_ms, Ordering::Release);
        Ok(())
    }

    /// Updates the truce before the view: anyone who sees that all other instances are gone also sees that this may be wrong. A
    /// lease that is missing (`still_held` is false) before its end shows that Redis lost it, and perhaps more.
    fn acknowledged(&self, exchange: Exchange, still_held: bool) {
        let directory = &self.directory;
        let Exchange { sent_ms, answered_ms, .. } = exchange;
        directory.clock_offset_ms.store(exchange.clock_offset_ms(), Ordering::Relaxed);
        let renewed_ms = directory.renewed_at_ms.load(Ordering::Relaxed);
        let vanished = !still_held && renewed_ms > 0 && answered_ms.saturating_sub(renewed_ms) < LEASE_MS;
        let reconnected = self.histories.directory_reconnected();
        let why = directory.truces().observe(exchange, vanished, reconnected);
        directory.acknowledged_at_ms.store(answered_ms, Ordering::Relaxed);
        if self.is_registered {
            directory.renewed_at_ms.store(sent_ms, Ordering::Relaxed);
        }
        if let Some(why) = why {
            tracing::info!(why = why.as_str(), lasts_ms = TRUCE_MS, "eviction truce began");
        }
        self.histories.directory_answered(why, reconnected);
    }
}
