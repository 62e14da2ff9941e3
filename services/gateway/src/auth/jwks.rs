//! Keys from a JWKS URL: fetched at the start, again every few minutes, and when a token names a key that is not known.

use std::{sync::Arc, time::Duration};

use parking_lot::RwLock;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    fetch::{Endpoint, FETCH_TIMEOUT, FetchError},
    jwk,
    key::KeySet,
    rejection::Rejection,
};
use crate::backoff::{Backoff, jitter};

/// The longest time between two fetches that succeed; the shortest is half of it.
const REFRESH: Duration = Duration::from_mins(10);
/// The longest time between two fetches that fail.
const RETRY: Duration = Duration::from_secs(30);
/// So often may tokens with unknown keys cause a fetch.
pub(super) const MIN_PERIOD: Duration = Duration::from_secs(30);

/// The keys of a JWKS URL.
pub(super) struct Jwks {
    endpoint: Endpoint,
    /// The shortest time between fetches for keys that are not known, however many tokens name them.
    min_period: Duration,
    /// `None`: no fetch has succeeded yet.
    keys: RwLock<Option<Arc<KeySet>>>,
    fetches: watch::Sender<Fetches>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Fetches {
    /// One is wanted or has begun. Tokens that need one meanwhile wait for it.
    is_under_way: bool,
    done: u64,
    /// When the last one began.
    last: Option<Instant>,
    /// How the last one that is done ended.
    has_failed: bool,
}

impl Jwks {
    pub(super) fn new(endpoint: Endpoint, min_period: Duration) -> Self {
        Self { endpoint, min_period, keys: RwLock::default(), fetches: watch::Sender::default() }
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
        let (mut fetches, mut done) = (self.fetches.subscribe(), 0);
        let may_help = self.fetches.send_if_modified(|fetches| {
            done = fetches.done;
            fetches.is_under_way |= fetches.last.is_none_or(|last| last.elapsed() >= self.min_period);
            fetches.is_under_way
        });
        // A fetch ends in time; this ends even if the gateway stops.
        let next = fetches.wait_for(|fetches| fetches.done > done);
        if may_help && timeout(FETCH_TIMEOUT * 2, next).await.is_err() {
            return false;
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
            let mut fetches = self.fetches.subscribe();
            tokio::select! {
                () = sleep(pause) => {}
                _ = fetches.wait_for(|fetches| fetches.is_under_way) => {}
            }
        }
    }

    async fn fetch(&self) -> Result<Arc<KeySet>, FetchError> {
        self.fetches.send_modify(|fetches| {
            fetches.is_under_way = true;
            fetches.last = Some(Instant::now());
        });
        let text = self.endpoint.fetch().await;
        let result = text.and_then(|text| jwk::parse(&text).map(Arc::new).map_err(|_| FetchError::NoJwkSet));
        // A set without any key that can be used is a mistake of its server: the keys before it stay.
        let result = result.and_then(|set| if set.keys.is_empty() { Err(FetchError::NoKey) } else { Ok(set) });
        if let Ok(set) = &result {
            *self.keys.write() = Some(Arc::clone(set));
        }
        self.fetches.send_modify(|fetches| {
            fetches.is_under_way = false;
            fetches.done += 1;
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
                    set.log();
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

#[cfg(test)]
mod tests;
