//! A queue of work, each item with the time at which it is due. Any number of workers take from it; an item that is not due
//! yet holds no worker back from one that is.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use parking_lot::Mutex;
use tokio::{
    sync::{self, Notify},
    time::{Instant, sleep_until},
};

/// A queue of work that is due at a time. It is not bounded; its users have to be.
pub(crate) struct DueQueue<T> {
    entries: Mutex<Entries<T>>,
    /// Held by the worker that waits for the first item; the others queue for it. So one timer runs and one worker wakes up per
    /// item, however many workers there are.
    turn: sync::Mutex<()>,
    /// Another item became the first.
    first_changed: Notify,
}

struct Entries<T> {
    /// The item that is due first is at the top.
    heap: BinaryHeap<Reverse<Entry<T>>>,
    pushed: u64,
}

struct Entry<T> {
    due: Instant,
    /// Orders items that are due at the same time.
    number: u64,
    item: T,
}

impl<T> DueQueue<T> {
    pub(crate) fn new() -> Self {
        let entries = Mutex::new(Entries { heap: BinaryHeap::new(), pushed: 0 });
        Self { entries, turn: sync::Mutex::new(()), first_changed: Notify::new() }
    }

    /// Adds an item that is due at `at`.
    pub(crate) fn push(&self, at: Instant, item: T) {
        let is_first = {
            let mut entries = self.entries.lock();
            let number = entries.pushed;
            entries.pushed += 1;
            let is_first = entries.heap.peek().is_none_or(|Reverse(first)| at < first.due);
            entries.heap.push(Reverse(Entry { due: at, number, item }));
            is_first
        };
        if is_first {
            self.first_changed.notify_one();
        }
    }

    /// Takes the first item as soon as it is due. Cancel-safe: dropping the future loses no item.
    pub(crate) async fn next(&self) -> T {
        let _turn = self.turn.lock().await;
        loop {
            match self.take_due() {
                Ok(item) => return item,
                Err(None) => self.first_changed.notified().await,
                Err(Some(at)) => tokio::select! {
                    () = self.first_changed.notified() => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }

    /// The first item if it is due, otherwise the time at which the first will be.
    fn take_due(&self) -> Result<T, Option<Instant>> {
        let mut entries = self.entries.lock();
        let Some(Reverse(first)) = entries.heap.peek() else { return Err(None) };
        if first.due > Instant::now() {
            return Err(Some(first.due));
        }
        entries.heap.pop().map(|Reverse(entry)| entry.item).ok_or(None)
    }

    /// Sets the time of every item to what `due` returns, or drops the item if that is `None`. Items that are due at the same
    /// time keep their order.
    pub(crate) fn reschedule(&self, mut due: impl FnMut(Instant, &T) -> Option<Instant>) {
        {
            let mut entries = self.entries.lock();
            let mut all = std::mem::take(&mut entries.heap).into_vec();
            all.retain_mut(|Reverse(entry)| {
                let at = due(entry.due, &entry.item);
                entry.due = at.unwrap_or(entry.due);
                at.is_some()
            });
            entries.heap = all.into();
        }
        self.first_changed.notify_one();
    }

    /// How many items there are, due or not.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().heap.len()
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::{sleep, timeout};

    use super::*;

    fn after(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn items_come_when_they_are_due_and_in_the_order_of_their_times() {
        let (queue, began) = (DueQueue::new(), Instant::now());
        for (ms, item) in [(300, 'd'), (0, 'a'), (100, 'b'), (100, 'c')] {
            queue.push(after(ms), item);
        }
        assert_eq!(queue.len(), 4);
        for (ms, item) in [(0, 'a'), (100, 'b'), (100, 'c'), (300, 'd')] {
            assert_eq!(queue.next().await, item);
            assert_eq!(began.elapsed().as_millis(), ms);
        }
        assert_eq!(queue.len(), 0);
        assert!(timeout(Duration::from_secs(60), queue.next()).await.is_err(), "nothing is left");
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_that_is_due_earlier_overtakes_those_that_workers_wait_for() {
        let queue = Arc::new(DueQueue::new());
        let began = Instant::now();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = Arc::clone(&queue);
                tokio::spawn(async move { (queue.next().await, began.elapsed().as_millis()) })
            })
            .collect();
        sleep(Duration::from_millis(10)).await;
        queue.push(after(990), "last");
        sleep(Duration::from_millis(10)).await;
        queue.push(after(80), "second");
        queue.push(after(0), "first");
        let mut taken = Vec::new();
        for worker in workers {
            taken.push(worker.await.unwrap());
        }
        assert_eq!(taken, [("first", 20), ("second", 100), ("last", 1_000)]);
    }

    #[tokio::test(start_paused = true)]
    async fn items_are_rescheduled_or_dropped_while_a_worker_waits() {
        let queue = Arc::new(DueQueue::new());
        let began = Instant::now();
        [(1_000, 'a'), (2_000, 'b'), (3_000, 'c')].into_iter().for_each(|(ms, item)| queue.push(after(ms), item));
        let worker = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { (queue.next().await, queue.next().await) }
        });
        sleep(Duration::from_millis(100)).await;
        queue.reschedule(|due, item| (*item != 'a').then(|| if *item == 'c' { after(100) } else { due }));
        assert_eq!(worker.await.unwrap(), ('c', 'b'));
        assert_eq!((began.elapsed().as_millis(), queue.len()), (2_000, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_gives_up_loses_no_item_and_holds_no_one_back() {
        let queue = DueQueue::new();
        queue.push(after(100), 1);
        assert!(timeout(Duration::from_millis(50), queue.next()).await.is_err());
        assert_eq!(timeout(Duration::from_millis(60), queue.next()).await, Ok(1));
    }

    #[tokio::test]
    async fn many_workers_take_each_item_once() {
        const ITEMS: usize = 10_000;
        let queue = Arc::new(DueQueue::new());
        let (taken, mut all) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..64 {
            let (queue, taken) = (Arc::clone(&queue), taken.clone());
            tokio::spawn(async move {
                loop {
                    let _ = taken.send(queue.next().await);
                    tokio::task::yield_now().await;
                }
            });
        }
        (0..ITEMS).for_each(|item| queue.push(after(item as u64 % 20), item));
        let mut seen = vec![0; ITEMS];
        for _ in 0..ITEMS {
            seen[all.recv().await.unwrap()] += 1;
        }
        assert!(seen.iter().all(|times| *times == 1));
        assert_eq!(queue.len(), 0);
    }
}
