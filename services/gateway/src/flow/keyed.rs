//! A rate for each of many names, in bounded memory.

use std::{collections::HashMap, hash::Hash, time::Duration};

use parking_lot::Mutex;

use super::rate::{Bucket, Quota};

/// The most names that are remembered. A name is forgotten once its bucket is full again.
const MOST: usize = 65_536;
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
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    pub(crate) fn new(quota: Quota) -> Self {
        Self { quota, names: Mutex::new(Names { buckets: HashMap::new(), prune_at: FEW }) }
    }

    /// Takes one unit of a name's quota, or returns after how long it could be taken. If too many names are remembered, a new
    /// one has to wait as long as one unit takes.
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
            return Err(Duration::from_secs(1));
        }
        names.buckets.insert(name.clone(), bucket);
        Ok(())
    }
}

impl<K: Hash + Eq> Names<K> {
    fn prune(&mut self) {
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
        let quick = Buckets::new(Quota::new(1_000_000_000, 1));
        assert!((0..10 * FEW).all(|name| quick.take(&name).is_ok()));
        assert!(quick.names.lock().buckets.len() <= FEW);
        let unlimited = Buckets::new(Quota::new(0, 1));
        assert!((0..10).all(|name| unlimited.take(&name).is_ok()) && unlimited.names.lock().buckets.is_empty());
    }
}
