//! Who is alive: entries with a lease in Redis, renewed and read together. A sender that finds an instance gone drops it
//! from its own view at once, until that instance renews its lease again.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::InstanceId;
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, sleep, timeout},
};

use crate::{Bus, choose, redis::COMMAND_TIMEOUT, script::Script, subjects};

/// How long an entry lives without being renewed.
const LEASE_MS: u64 = 5_000;
const RENEW_EVERY: Duration = Duration::from_millis(500);
/// How long a request waits for a newer view when the present one has nobody to ask.
const LOOK: Duration = Duration::from_millis(250);
/// Views that are asked for come no faster than this, however many ask.
const LOOK_EVERY: Duration = Duration::from_millis(50);

static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new("directory_renew", include_str!("scripts/directory_renew.lua")));
static FORGET: LazyLock<Script> =
    LazyLock::new(|| Script::new("directory_forget", include_str!("scripts/directory_forget.lua")));
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `presence-gateway`
    Gateway,
    /// `presence-state`
    State,
    /// `presence-reaper`
    Reaper,
}

const ROLES: [Role; 3] = [Role::Gateway, Role::State, Role::Reaper];

impl Role {
    /// The service's name.
    pub fn service(self) -> &'static str {
        match self {
            Role::Gateway => "presence-gateway",
            Role::State => "presence-state",
            Role::Reaper => "presence-reaper",
        }
    }
}

/// An entry of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub instance: InstanceId,
    /// Until when, in milliseconds of Redis' clock.
    pub lease_end_ms: u64,
}

/// The directory at one moment.
#[derive(Debug, Default)]
pub struct View {
    alive: [Vec<InstanceId>; 3],
    lost_gateways: Vec<Peer>,
}

impl View {
    /// The live instances of a role.
    pub fn peers(&self, role: Role) -> &[InstanceId] {
        &self.alive[role as usize]
    }

    /// Gateways whose lease ended without a goodbye.
    pub fn lost_gateways(&self) -> &[Peer] {
        &self.lost_gateways
    }

    /// The live instance of a role that serves `key`.
    pub fn serving(&self, role: Role, key: &str) -> Option<&InstanceId> {
        choose(key, self.peers(role))
    }
}

#[derive(Default)]
pub(crate) struct Directory {
    view: RwLock<Arc<View>>,
    /// Instances found gone, with the lease that they had then.
    gone: Mutex<HashMap<InstanceId, u64>>,
    leases: Mutex<HashMap<InstanceId, u64>>,
    clock_offset_ms: AtomicI64,
    renewed_at_ms: AtomicU64,
    /// When Redis last answered again after it had been silent; 0 when it never was.
    returned_at_ms: AtomicU64,
    /// The goodbye was said: what is under way still needs the view, but no lease any more.
    leaving: AtomicBool,
    /// Somebody wants a newer view.
    wanted: Notify,
    updated: Notify,
}

impl Directory {
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn redis_now_ms(&self) -> u64 {
        local_ms().saturating_add_signed(self.clock_offset_ms.load(Ordering::Relaxed))
    }

    /// How long ago Redis last answered.
    pub(crate) fn age_ms(&self) -> Option<u64> {
        match self.renewed_at_ms.load(Ordering::Relaxed) {
            0 => None,
            at => Some(local_ms().saturating_sub(at)),
        }
    }

    /// Whether Redis once answered and does so no more.
    pub(crate) fn is_silent(&self) -> bool {
        self.age_ms().is_some_and(|age| age >= crate::SILENT_AFTER_MS)
    }

    /// Whether Redis is silent, or was so within `time`.
    pub(crate) fn was_silent(&self, time: Duration) -> bool {
        let returned = self.returned_at_ms.load(Ordering::Relaxed);
        self.is_silent() || (returned > 0 && u128::from(local_ms().saturating_sub(returned)) < time.as_millis())
    }

    /// Drops an instance that nobody hears any more from the view.
    pub(crate) fn mark_gone(&self, instance: &InstanceId) {
        let lease = lock(&self.leases).get(instance).copied().unwrap_or(0);
        lock(&self.gone).insert(instance.clone(), lease);
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let without = |peers: &Vec<InstanceId>| peers.iter().filter(|peer| *peer != instance).cloned().collect();
        *view = Arc::new(View { alive: view.alive.each_ref().map(without), lost_gateways: view.lost_gateways.clone() });
    }

    /// Waits for a newer view, as long as that makes sense: who came lately may not be in the present one yet.
    pub(crate) async fn look_again(&self) {
        let updated = self.updated.notified();
        self.wanted.notify_one();
        let _ = timeout(LOOK, updated).await;
    }

    fn update(&self, now_ms: u64, listed: [Vec<Peer>; 3]) {
        let mut gone = lock(&self.gone);
        let mut leases = HashMap::new();
        for peer in listed.iter().flatten() {
            leases.insert(peer.instance.clone(), peer.lease_end_ms);
        }
        gone.retain(|instance, lease| leases.get(instance) == Some(lease));
        let alive = |peers: &Vec<Peer>| {
            let alive = peers.iter().filter(|p| p.lease_end_ms > now_ms && !gone.contains_key(&p.instance));
            alive.map(|p| p.instance.clone()).collect()
        };
        let view = View {
            alive: listed.each_ref().map(alive),
            lost_gateways: listed[0].iter().filter(|p| p.lease_end_ms <= now_ms).cloned().collect(),
        };
        drop(gone);
        *lock(&self.leases) = leases;
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        let local = local_ms();
        self.clock_offset_ms.store(now_ms as i64 - local as i64, Ordering::Relaxed);
        if self.is_silent() {
            self.returned_at_ms.store(local, Ordering::Relaxed);
        }
        self.renewed_at_ms.store(local.max(1), Ordering::Relaxed);
        self.updated.notify_waiters();
    }
}

/// Renews the own lease, until the goodbye, and the view, for ever.
pub(crate) async fn renew(bus: Arc<Bus>) {
    let mut tick = tokio::time::interval(RENEW_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = bus.directory.wanted.notified() => sleep(LOOK_EVERY).await,
        }
        let lease_ms = if bus.directory.leaving.load(Ordering::Relaxed) { 0 } else { LEASE_MS };
        match exchange(&bus, lease_ms).await {
            Ok((now_ms, listed)) => {
                if told {
                    tracing::info!("Redis answers again");
                }
                told = false;
                bus.directory.update(now_ms, listed);
            }
            Err(error) if !told => {
                told = true;
                tracing::warn!(%error, "Redis does not answer; clients are told UNAVAILABLE until it does");
            }
            Err(_) => {}
        }
    }
}

pub(crate) async fn goodbye(bus: &Bus) {
    bus.directory.leaving.store(true, Ordering::Relaxed);
    let work = exchange(bus, 0);
    if !matches!(tokio::time::timeout(COMMAND_TIMEOUT, work).await, Ok(Ok(_))) {
        tracing::warn!("the goodbye did not reach Redis; the lease will run out by itself");
    }
}

pub(crate) async fn forget(bus: &Bus, gateway: &Peer) -> bool {
    let keys = vec![subjects::directory(Role::Gateway)];
    let lease_end = i64::try_from(gateway.lease_end_ms).unwrap_or(i64::MAX);
    let args = vec![gateway.instance.as_str().into(), lease_end.into()];
    FORGET.run(&bus.commands, keys, args).await.unwrap_or(false)
}

type Listed = (u64, Vec<String>, Vec<String>, Vec<String>);

async fn exchange(bus: &Bus, lease_ms: u64) -> Result<(u64, [Vec<Peer>; 3]), fred::error::Error> {
    let keys = ROLES.map(subjects::directory).to_vec();
    let args = vec![
        (bus.role as i64 + 1).into(),
        bus.instance.as_str().into(),
        i64::try_from(lease_ms).unwrap_or(i64::MAX).into(),
    ];
    let (now_ms, gateways, states, reapers): Listed = RENEW.run(&bus.commands, keys, args).await?;
    Ok((now_ms, [gateways, states, reapers].map(|listed| listed.chunks_exact(2).map(peer).collect())))
}

fn peer(entry: &[String]) -> Peer {
    Peer { instance: entry[0].as_str().into(), lease_end_ms: entry[1].parse().unwrap_or(0) }
}

pub(crate) fn local_ms() -> u64 {
    START.elapsed().as_millis() as u64
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(entries: &[(&str, u64)]) -> Vec<Peer> {
        entries.iter().map(|(name, lease)| Peer { instance: (*name).into(), lease_end_ms: *lease }).collect()
    }

    #[test]
    fn the_gone_stay_out_until_they_renew() {
        let directory = Directory::default();
        directory.update(100, [vec![], peers(&[("a", 200), ("b", 200)]), vec![]]);
        directory.mark_gone(&"a".into());
        assert_eq!(directory.view().peers(Role::State), ["b".into()]);
        directory.update(150, [vec![], peers(&[("a", 200), ("b", 250)]), vec![]]);
        assert_eq!(directory.view().peers(Role::State), ["b".into()]);
        directory.update(160, [vec![], peers(&[("a", 260), ("b", 250)]), vec![]]);
        assert_eq!(directory.view().peers(Role::State), ["a".into(), "b".into()]);
    }

    #[test]
    fn a_gateway_without_a_lease_is_lost() {
        let directory = Directory::default();
        directory.update(100, [peers(&[("g", 100), ("h", 101)]), vec![], vec![]]);
        assert_eq!(directory.view().lost_gateways(), peers(&[("g", 100)]));
        assert_eq!(directory.view().peers(Role::Gateway), ["h".into()]);
    }
}
