//! The sending side: a request goes to the instance that serves its key and waits for the reply. Failure is seen, not
//! waited for: when nobody receives a message its target is gone, and every request that waits for it goes to the next
//! instance. That may repeat one which the dead instance had carried out, which is harmless: see `protocol::command`.
//! Whoever owes a reply is asked now and then whether it is still there, for it may get no other message.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fred::interfaces::ClientLike as _;
use protocol::{
    Code, Fault, InstanceId,
    command::{Command, Outcome},
    envelope::Kind,
};
use serde_json::value::RawValue;
use telemetry::propagation::TraceContext;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

use crate::{
    Bus, Role,
    outbox::{self, OUTBOX, Outgoing},
};

/// How long a request may take, repeats included. Under two seconds, so that a client is told within two.
pub const DEADLINE: Duration = Duration::from_millis(1_800);
/// How often those that owe replies are asked whether they are still there.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// Requests of one instance that may be under way.
const PENDING: usize = 65_536;

/// A reply. Several requests may share its outcome.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What became of it.
    pub outcome: Arc<Outcome>,
    /// The request's place among those that share the outcome.
    pub index: usize,
}

enum Verdict {
    Answered(Answer),
    /// The target is gone.
    Gone,
    /// Redis did not take the message.
    Unsent,
}

struct Pending {
    verdict: oneshot::Sender<Verdict>,
    target: InstanceId,
    published: bool,
}

#[derive(Default)]
pub(crate) struct Requests {
    pending: Mutex<HashMap<u64, Pending>>,
    outboxes: Mutex<HashMap<InstanceId, mpsc::Sender<Outgoing>>>,
    next: AtomicU64,
}

impl Bus {
    /// Asks the presence-state instance that serves the command's partition.
    ///
    /// # Errors
    /// `UNAVAILABLE`: nobody is there, or Redis is not. `TIMEOUT`: it went out and no reply came. `OVERLOADED`: a queue
    /// is full. Or the fault that the instance answered.
    pub async fn call(self: &Arc<Self>, command: &Command, trace: TraceContext) -> Result<Answer, Fault> {
        let body: Arc<RawValue> = serde_json::value::to_raw_value(command)
            .map_err(|_| Fault::new(Code::Internal, "the request could not be written"))?
            .into();
        let deadline = Instant::now() + DEADLINE;
        let key = command.partition().to_string();
        loop {
            let answer = self.attempt(&key, &body, &trace, deadline).await?;
            match answer {
                Some(answer) => match &*answer.outcome {
                    Outcome::Fault(fault) => return Err(fault.clone()),
                    _ => return Ok(answer),
                },
                None if Instant::now() < deadline => {}
                None => return Err(unavailable()),
            }
        }
    }

    /// One try; `None` when its target turned out to be gone.
    async fn attempt(
        self: &Arc<Self>,
        key: &str,
        body: &Arc<RawValue>,
        trace: &TraceContext,
        deadline: Instant,
    ) -> Result<Option<Answer>, Fault> {
        if !self.commands.is_connected() {
            return Err(unavailable());
        }
        if self.directory.is_silent() {
            // Asked once more, shortly. A request that waited its whole time in vain would keep all that its socket sends
            // after it waiting too.
            self.directory.look_again().await;
            if self.directory.is_silent() {
                return Err(unavailable());
            }
        }
        let serving = || self.view().serving(Role::State, key).cloned();
        let target = match serving() {
            Some(target) => target,
            None => {
                self.directory.look_again().await;
                serving().ok_or_else(unavailable)?
            }
        };
        let (id, verdict) = self.requests.open(target.clone())?;
        let outgoing = Outgoing { id, body: Arc::clone(body), trace: trace.clone() };
        if self.requests.outbox(self, &target).try_send(outgoing).is_err() {
            self.requests.close(id);
            return Err(Fault::new(Code::Overloaded, "too many requests are waiting; slow down"));
        }
        match timeout_at(deadline, verdict).await {
            Ok(Ok(Verdict::Answered(answer))) => Ok(Some(answer)),
            Ok(Ok(Verdict::Gone)) => Ok(None),
            Ok(Ok(Verdict::Unsent) | Err(_)) => Err(unavailable()),
            Err(_) => {
                let published = self.requests.close(id);
                // What went out into a deaf or dead Redis did not fail for want of time.
                if published && self.check_hearing().is_ok() && self.check_redis().is_ok() {
                    Err(Fault::new(Code::Timeout, "no answer came in time; it may or may not have happened"))
                } else {
                    Err(unavailable())
                }
            }
        }
    }
}

/// Looks after those that owe replies, for ever.
pub(crate) async fn watch(bus: Arc<Bus>) {
    let mut tick = interval(ASK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for target in bus.requests.owing() {
            let heard = outbox::publish(&bus, Kind::Probe, &bus.subjects.inbox(&target), Vec::new()).await;
            if let Ok(0) = heard {
                bus.requests.target_gone(&bus, &target);
            }
        }
    }
}

fn unavailable() -> Fault {
    Fault::new(Code::Unavailable, "presence is not available right now; try again")
}

impl Requests {
    fn open(&self, target: InstanceId) -> Result<(u64, oneshot::Receiver<Verdict>), Fault> {
        let mut pending = lock(&self.pending);
        if pending.len() >= PENDING {
            return Err(Fault::new(Code::Overloaded, "too many requests are under way; slow down"));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        pending.insert(id, Pending { verdict: sender, target, published: false });
        Ok((id, receiver))
    }

    /// How many wait for their answer.
    pub(crate) fn pending(&self) -> usize {
        lock(&self.pending).len()
    }

    /// Gives a request up; answers whether it had been published.
    fn close(&self, id: u64) -> bool {
        lock(&self.pending).remove(&id).is_some_and(|pending| pending.published)
    }

    fn outbox(&self, bus: &Arc<Bus>, target: &InstanceId) -> mpsc::Sender<Outgoing> {
        let mut outboxes = lock(&self.outboxes);
        if let Some(outbox) = outboxes.get(target) {
            return outbox.clone();
        }
        // A new target is the moment to forget those that left the directory; dropping an outbox ends its task.
        let view = bus.view();
        outboxes.retain(|instance, _| view.peers(Role::State).contains(instance));
        let (sender, receiver) = mpsc::channel(OUTBOX);
        tokio::spawn(outbox::run(Arc::clone(bus), target.clone(), receiver));
        outboxes.insert(target.clone(), sender.clone());
        sender
    }

    pub(crate) fn resolve(&self, ids: &[u64], outcome: Outcome) {
        let outcome = Arc::new(outcome);
        let mut pending = lock(&self.pending);
        for (index, id) in ids.iter().enumerate() {
            // Not there: another's place in a shared reply, or a request that was given up.
            if let Some(waiting) = pending.remove(id) {
                let _ = waiting.verdict.send(Verdict::Answered(Answer { outcome: Arc::clone(&outcome), index }));
            }
        }
    }

    pub(crate) fn published(&self, ids: impl Iterator<Item = u64>) {
        let mut pending = lock(&self.pending);
        for id in ids {
            if let Some(waiting) = pending.get_mut(&id) {
                waiting.published = true;
            }
        }
    }

    fn owing(&self) -> HashSet<InstanceId> {
        lock(&self.pending).values().filter(|pending| pending.published).map(|pending| pending.target.clone()).collect()
    }

    pub(crate) fn unsent(&self, ids: impl Iterator<Item = u64>) {
        let mut pending = lock(&self.pending);
        for id in ids {
            if let Some(waiting) = pending.remove(&id) {
                let _ = waiting.verdict.send(Verdict::Unsent);
            }
        }
    }

    pub(crate) fn target_gone(&self, bus: &Bus, target: &InstanceId) {
        tracing::warn!(instance = %target, "nobody hears this instance any more; its requests go to others");
        bus.directory.mark_gone(target);
        lock(&self.outboxes).remove(target);
        for (_, waiting) in lock(&self.pending).extract_if(|_, pending| pending.target == *target) {
            let _ = waiting.verdict.send(Verdict::Gone);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
