//! The bytes that wait for all sessions, and which sessions are closed: one that takes nothing for 10 s while it is over its
//! budget, and the largest debtors while the process is over its own.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rollcall_service::Tasks;
use rollcall_telemetry::metrics::{self, Reading, Refusal};
use tokio::{select, sync::Notify, time::sleep};

use super::{Flow, large::Line, outward::DEBTOR_BYTES, pace::Pace};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause between two looks while the process is over its budget.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A session that is over its budget and takes nothing for this long is closed.
const STUCK: Duration = Duration::from_secs(10);

/// Someone for whom bytes wait.
pub(crate) trait Debtor: Send + Sync {
    /// Closes the transport.
    fn close(&self, refusal: Refusal);
}

/// The bytes of all sessions.
pub(crate) struct Backlog {
    /// The most of them.
    most: usize,
    /// What is owed to sessions.
    owed: AtomicUsize,
    /// Large answers that are to be built. What they reserve counts as waiting too.
    pub(super) line: Line,
    /// Large work waits for it.
    pub(crate) pace: Pace,
    exceeded: Notify,
    debtors: Mutex<Debtors>,
}

#[derive(Default)]
struct Debtors {
    open: Vec<Listed>,
    /// Were closed, and still have memory.
    closing: Vec<Weak<Flow>>,
}

struct Listed {
    flow: Weak<Flow>,
    /// What the kernel had taken when that last changed.
    taken: u64,
    since: Instant,
}

impl Backlog {
    /// With a budget of `most` bytes.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            owed: AtomicUsize::new(0),
            line: Line::default(),
            pace: Pace::new(),
            exceeded: Notify::new(),
            debtors: Mutex::default(),
        })
    }

    /// Starts to look for sessions that have to be closed, and whether large work has to wait, and registers the metrics.
    pub(crate) fn start(self: &Arc<Self>, tasks: &Tasks) {
        let backlog = Arc::clone(self);
        metrics::observe(Reading::OutwardWaiting, move || Some(backlog.waiting() as f64));
        let most = self.most as f64;
        metrics::observe(Reading::OutwardLimit, move || Some(most));
        let backlog = Arc::clone(self);
        metrics::observe(Reading::LargeWaiting, move || Some(backlog.pace.waiting() as f64));
        let backlog = Arc::clone(self);
        tasks.spawn_permanent("pace", async move { backlog.pace.look().await });
        let backlog = Arc::clone(self);
        tasks.spawn_permanent("backlog", async move {
            loop {
                select! { () = sleep(LOOK_EVERY) => {}, () = backlog.exceeded.notified() => {} }
                backlog.look(Instant::now());
                sleep(LOOK_AGAIN).await;
            }
        });
    }

    /// The bytes that wait now.
    pub(crate) fn waiting(&self) -> usize {
        // In this order: what an answer reserved is given back after the answer is owed, and must not be missed in both.
        let reserved = self.line.reserved();
        reserved + self.owed()
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// What is owed to sessions.
    fn owed(&self) -> usize {
        self.owed.load(Ordering::Relaxed)
    }

    /// Whether one message of so many bytes fits. One that is larger than the budget fits while half of it is free.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        let owed = self.owed();
        owed <= self.most / 2 || owed.saturating_add(bytes) <= self.most
    }

    /// Looks for sessions that have to be closed, soon.
    pub(super) fn look_soon(&self) {
        self.exceeded.notify_one();
    }

    pub(super) fn add(&self, bytes: usize) {
        if bytes > 0 && self.owed.fetch_add(bytes, Ordering::AcqRel) + bytes > self.most {
            self.look_soon();
        }
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.owed.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Lists a connection that owes much.
    pub(super) fn list(&self, flow: &Arc<Flow>) {
        let taken = flow.outward.taken();
        self.debtors.lock().open.push(Listed { flow: Arc::downgrade(flow), taken, since: Instant::now() });
    }

    /// Closes the sessions that have to be closed.
    pub(crate) fn look(&self, now: Instant) {
        for (flow, debtor, refusal) in self.choose(now) {
            debtor.close(refusal);
            // That session had left its namespace, and the connection may carry another one by now.
            if !flow.has_ended() {
                flow.unlist();
                flow.list();
            }
        }
    }

    /// Removes from the list and returns who has to be closed. Closing is done without the lock.
    fn choose(&self, now: Instant) -> Vec<(Arc<Flow>, Arc<dyn Debtor>, Refusal)> {
        let mut debtors = self.debtors.lock();
        let mut open: Vec<(usize, Arc<Flow>, Listed)> = Vec::with_capacity(debtors.open.len());
        for listed in std::mem::take(&mut debtors.open) {
            let Some(flow) = listed.flow.upgrade() else { continue };
            let owed = flow.owed();
            if owed < DEBTOR_BYTES {
                flow.unlist();
                // It may have become a debtor again meanwhile.
                if !flow.becomes_listed() {
                    continue;
                }
            }
            open.push((owed, flow, listed));
        }
        debtors.closing.retain(|flow| flow.upgrade().is_some_and(|flow| flow.has_ended()));
        let closing = debtors.closing.iter().filter_map(Weak::upgrade).map(|flow| flow.owed()).sum::<usize>();
        // While an answer waits for room, half of the budget is for those that are being built.
        let most = if self.line.is_short() { self.most / 2 } else { self.most };
        let mut excess = self.owed().saturating_sub(closing).saturating_sub(most);
        open.sort_unstable_by_key(|(owed, ..)| std::cmp::Reverse(*owed));
        let mut closed = Vec::new();
        for (owed, flow, mut listed) in open {
            let refusal = if excess > 0 {
                Some(Refusal::ProcessBacklog)
            } else {
                listed.is_stuck(&flow, now).then_some(Refusal::SocketBacklog)
            };
            // Between two sessions of a connection there is no one to close.
            let Some((debtor, refusal)) = refusal.and_then(|refusal| Some((flow.outward.debtor()?, refusal))) else {
                debtors.open.push(listed);
                continue;
            };
            excess = excess.saturating_sub(owed);
            debtors.closing.push(Arc::downgrade(&flow));
            closed.push((flow, debtor, refusal));
        }
        closed
    }
}

impl Listed {
    /// Whether the session is over its budget and took nothing for too long.
    fn is_stuck(&mut self, flow: &Flow, now: Instant) -> bool {
        let taken = flow.outward.taken();
        if taken != self.taken || !flow.is_blocked() {
            (self.taken, self.since) = (taken, now);
        }
        now.duration_since(self.since) >= STUCK
    }
}
