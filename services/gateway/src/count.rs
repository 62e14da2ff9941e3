//! Counters that cannot drift: each is the number of its guards.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The number of its [`Counted`] guards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    /// Counts one more until the guard is dropped.
    pub(crate) fn one_more(&self) -> Counted {
        self.0.fetch_add(1, Ordering::AcqRel);
        Counted(Arc::clone(&self.0))
    }

    /// The same, unless there are `most` already.
    pub(crate) fn one_more_up_to(&self, most: usize) -> Option<Counted> {
        let one_more = |count| (count < most).then_some(count + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Counted(Arc::clone(&self.0)))
    }

    /// The number now.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// Counts as one in its [`Count`].
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_the_number_of_its_guards() {
        let count = Count::default();
        let guards = [count.one_more(), count.one_more()];
        assert_eq!(count.get(), 2);
        drop(guards);
        assert_eq!(count.get(), 0);
    }

    #[test]
    fn a_count_with_a_bound_is_reached_and_reused() {
        let count = Count::default();
        let guards = [count.one_more_up_to(2), count.one_more_up_to(2)];
        assert!(guards.iter().all(Option::is_some) && count.one_more_up_to(2).is_none());
        drop(guards);
        assert!(count.one_more_up_to(2).is_some());
    }
}
