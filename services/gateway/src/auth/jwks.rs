//! Keys from a JWKS URL: fetched at the start, again every few minutes, and when a token names a key that is not known.

use std::{sync::Arc, time::Duration};

use parking_lot::RwLock;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    fetch::{Endpoint, FETCH_TIMEOUT, FetchError},
    jwk,
    key::KeySet,
    rejection::Rejection,
    store::log_keys,
};
use crate::backoff::{Backoff, jitter};

/// The longest time between two fetches that succeed; the shortest is half of it.
const REFRESH: Duration = Duration::from_mins(10);
/// The longest time between two fetches that fail.
const RETRY: Duration = Duration::from_secs(30);
/// The shortest time between fetches for keys that are not known, whoever asks for whichever.
const MIN_PERIOD: Duration = Duration::from_secs(30);

/// The keys of a JWKS URL.
pub(super) struct Jwks {
    endpoint: Endpoint,
    /// `None`: no fetch has succeeded yet.
    keys: RwLock<Option<Arc<KeySet>>>,
    fetches: watch::Sender<Fetches>,
    /// A token named a key that is not known.
    wanted: Notify,
}

#[derive(Debug, Clone, Copy, Default)]
struct Fetches {
    begun: u64,
    done: u64,
    /// When the last one began.
    last: Option<Instant>,
    /// How the last one that is done ended.
    has_failed: bool,
}

impl Fetches {
    /// Whether a key that is not known is worth a fetch, or the one that is under way.
    fn may_help(&self) -> bool {
        self.begun > self.done || self.last.is_none_or(|last| last.elapsed() >= MIN_PERIOD)
    }
}

impl Jwks {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, keys: RwLock::default(), fetches: watch::Sender::default(), wanted: Notify::new() }
    }

    /// The keys for a token with this `kid`. If it is not known, waits for one fetch, which all such calls share.
    pub(super) async fn keys(&self, kid: Option<&str>) -> Result<Arc<KeySet>, Rejection> {
        let current = || self.keys.read().clone();
        let is_known = |set: &Arc<KeySet>| kid.is_none_or(|kid| set.has(kid));
        if let Some(set) = current().filter(is_known) {
            return Ok(set);
        }
        let is_recent = self.refresh().await;
        match current() {
            Some(set) if is_recent || is_known(&set) => Ok(set),
            _ => Err(Rejection::NoKeys),
        }
    }

    /// Waits for a fetch if one may help. Returns whether the last one succeeded.
    async fn refresh(&self) -> bool {
        let mut fetches = self.fetches.subscribe();
        let before = *fetches.borrow_and_update();
        if before.may_help() {
            self.wanted.notify_one();
            // A fetch ends in time; this ends also if the gateway stops.
            let next = timeout(FETCH_TIMEOUT * 2, fetches.wait_for(|fetches| fetches.done > before.done));
            if next.await.is_err() {
                return false;
            }
        }
        !self.fetches.borrow().has_failed
    }

    /// Keeps the keys current, forever.
    pub(super) async fn follow(self: Arc<Self>) {
        let (mut backoff, mut log) = (Backoff::up_to(RETRY), Log::default());
        loop {
            let result = self.fetch().await;
            log.record(result.as_deref());
            let pause = match result {
                Ok(_) => {
                    backoff = Backoff::up_to(RETRY);
                    jitter(REFRESH)
                }
                Err(_) => backoff.next(),
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.asked() => {}
            }
        }
    }

    /// Resolves when a key is wanted and the last fetch is long enough ago.
    async fn asked(&self) {
        loop {
            self.wanted.notified().await;
            if self.fetches.borrow().may_help() {
                return;
            }
        }
    }

    async fn fetch(&self) -> Result<Arc<KeySet>, FetchError> {
        self.fetches.send_modify(|fetches| {
            fetches.begun += 1;
            fetches.last = Some(Instant::now());
        });
        let text = self.endpoint.fetch().await;
        let result = text.and_then(|text| jwk::parse(&text).map(Arc::new).map_err(|_| FetchError::NoJwkSet));
        if let Ok(set) = &result {
            *self.keys.write() = Some(Arc::clone(set));
        }
        self.fetches.send_modify(|fetches| {
            fetches.done = fetches.begun;
            fetches.has_failed = result.is_err();
        });
        result
    }
}

/// What was logged last: only changes are logged.
#[derive(Default)]
struct Log {
    error: Option<FetchError>,
    ids: Option<Vec<String>>,
}

impl Log {
    fn record(&mut self, result: Result<&KeySet, &FetchError>) {
        match result {
            Ok(set) => {
                if self.error.take().is_some() {
                    tracing::info!("keys for tokens can be fetched again");
                }
                let ids = Some(set.ids());
                if self.ids != ids {
                    log_keys(set);
                    self.ids = ids;
                }
            }
            Err(error) if self.error.as_ref() != Some(error) => {
                tracing::warn!(%error, "keys for tokens cannot be fetched");
                self.error = Some(error.clone());
            }
            Err(_) => {}
        }
    }
}
