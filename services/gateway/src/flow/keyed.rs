//! A rate for each of many names, in bounded memory: of writes to each channel, and of handshakes of each address.

use std::{collections::HashMap, hash::Hash, time::Duration};

use parking_lot::Mutex;

use super::rate::{Bucket, Quota, now_ns};

/// The most names that are remembered, some 4 MiB of addresses. A name is forgotten once its bucket is full again.
const MOST: usize = 65_536;
/// Beyond that, names to be forgotten are looked for this often: it takes up to 4 ms, which a flood of new names must not cost each time.
const SEARCH_EVERY: Duration = Duration::from_secs(1);
/// The names that are kept before full ones are looked for.
const FEW: usize = 1_024;

/// A [`Bucket`] for each name.
pub(crate) struct Buckets<K> {
    quota: Quota,
    names: Mutex<Names<K>>,
}

struct Names<K> {
    buckets: HashMap<K, Bucket>,
    /// Full buckets are removed when there are so many.
    prune_at: usize,
    /// When they may be looked for again if there are [`MOST`].
    search_at_ns: u64,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    pub(crate) fn new(quota: Quota) -> Self {
        Self { quota, names: Mutex::new(Names { buckets: HashMap::new(), prune_at: FEW, search_at_ns: 0 }) }
    }

    /// Takes one unit of a name's quota, or returns after how long it could be taken. If too many names are remembered, a new
    /// one has to wait until some are looked for that can be forgotten.
    pub(crate) fn take(&self, name: &K) -> Result<(), Duration> {
        let mut names = self.names.lock();
        if let Some(bucket) = names.buckets.get(name) {
            return bucket.take(self.quota, 1);
        }
        let bucket = Bucket::default();
        bucket.take(self.quota, 1)?;
        if bucket.is_full() {
            return Ok(()); // No limit.
        }
        if names.buckets.len() >= names.prune_at {
            names.prune();
        }
        if names.buckets.len() >= MOST {
            return Err(SEARCH_EVERY);
        }
        names.buckets.insert(name.clone(), bucket);
        Ok(())
    }
}

impl<K: Hash + Eq> Names<K> {
    fn prune(&mut self) {
        if self.buckets.len() >= MOST {
            let now_ns = now_ns();
            if now_ns < self.search_at_ns {
                return;
            }
            self.search_at_ns = now_ns + SEARCH_EVERY.as_nanos() as u64;
        }
        self.buckets.retain(|_, bucket| !bucket.is_full());
        self.prune_at = (2 * self.buckets.len()).clamp(FEW, MOST);
        self.buckets.shrink_to(self.prune_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_a_rate_of_its_own() {
        let buckets = Buckets::new(Quota::new(10, 2));
        let taken = |name: &str| (0..100).filter(|_| buckets.take(&name.to_owned()).is_ok()).count();
        assert_eq!((taken("a"), taken("b")), (20, 20));
    }

    #[test]
    fn names_are_bounded_and_forgotten_once_their_bucket_is_full() {
        let slow = Buckets::new(Quota::new(1, 1));
        assert_eq!((0..MOST + 10).filter(|name| slow.take(name).is_ok()).count(), MOST);
        let searched = slow.names.lock().search_at_ns;
        assert!((0..1_000).all(|name| slow.take(&(2 * MOST + name)).is_err()));
        assert_eq!(slow.names.lock().search_at_ns, searched, "not once for each");
        let quick = Buckets::new(Quota::new(1_000_000_000, 1));
        assert!((0..10 * FEW).all(|name| quick.take(&name).is_ok()));
        assert!(quick.names.lock().buckets.len() <= FEW);
        let unlimited = Buckets::new(Quota::new(0, 1));
        assert!((0..10).all(|name| unlimited.take(&name).is_ok()) && unlimited.names.lock().buckets.is_empty());
    }
}
