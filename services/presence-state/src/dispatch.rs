//! Queues: commands from the bus wait here, in bounded queues, and workers take them in batches. A room always has the same
//! worker, so its commands keep their order.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bus::{Bus, Listener};
use futures_util::future;
use protocol::{
    Code, Fault,
    command::{Command, Outcome},
    envelope::{Envelope, wall_clock_ms},
};
use service::{Spawner, Tasks};
use telemetry::{
    LogLimit,
    metrics::{self, Reading},
    propagation::TraceContext,
};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    batch::{self, Incoming},
    store::Store,
};

/// Workers over which rooms are spread. Few workers make large batches.
const WORKERS: usize = 2;
/// The most commands that may wait for one worker.
const QUEUE: usize = 8_192;
/// The most commands in one batch.
const BATCH: usize = 512;

static LATE: LogLimit = LogLimit::new(Duration::from_secs(10));

/// Takes requests from the bus and queues them.
pub(crate) struct Dispatch {
    bus: Arc<Bus>,
    workers: Vec<mpsc::Sender<Queued>>,
    open: Arc<AtomicUsize>,
    tasks: Spawner,
}

/// A command that waits for its worker.
struct Queued {
    incoming: Incoming,
    open: Open,
}

/// Counts a command from its arrival until its answer is sent.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn count(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Dispatch {
    /// Starts the workers.
    pub(crate) fn start(bus: Arc<Bus>, store: Store, tasks: &Tasks) -> Arc<Self> {
        let store = Arc::new(store);
        let open = Arc::new(AtomicUsize::new(0));
        let workers = (0..=WORKERS)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(QUEUE);
                let work = work(Arc::clone(&bus), Arc::clone(&store), receiver, tasks.spawner());
                tasks.spawn_permanent("command worker", work);
                sender
            })
            .collect();
        metrics::begin_state();
        let waiting = Arc::clone(&open);
        metrics::observe(Reading::CommandsWaiting, move || Some(waiting.load(Ordering::Relaxed) as f64));
        Arc::new(Self { bus, workers, open, tasks: tasks.spawner() })
    }

    /// Resolves when every command has been answered.
    pub(crate) async fn drained(&self) {
        // Requests that were published before the lease ended may still arrive.
        sleep(Duration::from_millis(100)).await;
        while self.open.load(Ordering::Acquire) > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn worker(&self, command: &Command) -> &mpsc::Sender<Queued> {
        // Commands for a partition take long and have their own worker.
        let at = if command.room().is_some() { command.partition().index() % WORKERS } else { WORKERS };
        &self.workers[at]
    }

    fn reject(&self, reply_to: &str, ids: Vec<u64>, fault: Fault) {
        let (bus, reply_to) = (Arc::clone(&self.bus), reply_to.to_owned());
        self.tasks.spawn("rejection", async move {
            bus.reply(&reply_to, &[(ids, Arc::new(Outcome::Fault(fault)))]).await;
        });
    }
}

impl Listener for Dispatch {
    fn on_request(&self, envelope: &Envelope<'_>) {
        let (arrived, now_ms) = (Instant::now(), wall_clock_ms());
        let reply_to: Arc<str> = envelope.reply_to.as_str().into();
        let mut late = 0;
        for item in &envelope.items {
            let Some(deadline_ms) = item.deadline_ms.filter(|deadline_ms| now_ms <= *deadline_ms) else {
                late += 1;
                continue;
            };
            let command = match serde_json::from_str::<Command>(item.body.get()) {
                Ok(command) => command,
                Err(error) => {
                    tracing::warn!(%error, sender = %envelope.sender, "rejected unknown command");
                    self.reject(&reply_to, item.ids.clone(), Fault::new(Code::Internal, "the command is not known"));
                    continue;
                }
            };
            let trace = TraceContext::read(item.traceparent.as_deref(), item.tracestate.as_deref());
            let incoming = Incoming {
                id: item.ids.first().copied().unwrap_or(0),
                reply_to: Arc::clone(&reply_to),
                deadline_ms,
                command,
                trace,
                arrived,
            };
            let worker = self.worker(&incoming.command);
            if worker.try_send(Queued { incoming, open: Open::count(&self.open) }).is_err() {
                let fault = Fault::new(Code::Overloaded, "too many commands are waiting; slow down");
                self.reject(&reply_to, item.ids.clone(), fault);
            }
        }
        if late > 0
            && let Some(suppressed) = LATE.admit()
        {
            tracing::warn!(sender = %envelope.sender, count = late, suppressed, "dropped requests past their deadline");
        }
    }
}

async fn work(bus: Arc<Bus>, store: Arc<Store>, mut queue: mpsc::Receiver<Queued>, tasks: Spawner) {
    let mut taken = Vec::new();
    while queue.recv_many(&mut taken, BATCH).await > 0 {
        let arrivals: Vec<_> = taken.iter().map(|one| (one.incoming.command.name(), one.incoming.arrived)).collect();
        let (batch, open): (Vec<_>, Vec<_>) = taken.drain(..).map(|one| (one.incoming, one.open)).unzip();
        let answers = batch::carry_out(&store, batch.into_iter()).await;
        let mut replies: HashMap<Arc<str>, Vec<_>> = HashMap::new();
        for (reply_to, ids, outcome) in answers {
            replies.entry(reply_to).or_default().push((ids, outcome));
        }
        // In its own task: the next batch need not wait until Redis has taken the answers.
        let bus = Arc::clone(&bus);
        tasks.spawn("answers", async move {
            future::join_all(replies.iter().map(|(reply_to, items)| bus.reply(reply_to, items))).await;
            for ((about, verb), arrived) in arrivals {
                metrics::command(about, verb, arrived.elapsed());
            }
            drop(open);
        });
    }
}

#[cfg(test)]
mod tests {
    use bus::{Role, redis};
    use protocol::{
        command::SnapshotQuery,
        envelope::{Item, Kind, VERSION},
    };
    use testkit::Redis;

    use super::*;

    fn dispatch(server: &Redis, tasks: &Tasks) -> Arc<Dispatch> {
        let connections = redis::connect(redis::Config::from_url(&server.url()).unwrap()).unwrap();
        let bus = Bus::connect(connections, Role::State, "presence-state-00000001".into());
        Dispatch::start(Arc::clone(&bus), Store::new(bus, 60_000, tasks.spawner()), tasks)
    }

    fn snapshot(room: &str) -> Command {
        Command::Snapshot(SnapshotQuery { room: room.into(), known: None })
    }

    #[tokio::test]
    async fn a_room_always_has_the_same_worker_and_both_have_rooms() {
        let (server, tasks) = (Redis::start(), Tasks::default());
        let dispatch = dispatch(&server, &tasks);
        let worker = |room: &str| {
            let chosen = dispatch.worker(&snapshot(room));
            dispatch.workers.iter().position(|worker| worker.same_channel(chosen)).unwrap()
        };
        let rooms = (0..100).map(|n| format!("room {n}"));
        let workers: Vec<_> = rooms.map(|room| [worker(&room), worker(&room), worker(&room)]).collect();
        assert!(workers.iter().all(|[first, others @ ..]| others == &[*first; 2]), "{workers:?}");
        assert!((0..WORKERS).all(|worker| workers.contains(&[worker; 3])), "{workers:?}");
    }

    #[tokio::test]
    async fn requests_past_their_deadline_are_dropped() {
        let (server, tasks) = (Redis::start(), Tasks::default());
        let dispatch = dispatch(&server, &tasks);
        let body = serde_json::value::to_raw_value(&snapshot("room")).unwrap();
        let open_after = |deadlines: &[Option<u64>]| {
            let item = |deadline_ms: &Option<u64>| {
                let (deadline_ms, ids) = (*deadline_ms, vec![1]);
                Item { ids, deadline_ms, traceparent: None, tracestate: None, body: &body }
            };
            let items = deadlines.iter().map(item).collect();
            let (kind, sender, reply_to) = (Kind::Request, "presence-gateway-0000000a".into(), "inbox".to_owned());
            dispatch.on_request(&Envelope { version: VERSION, id: 1, kind, sender, reply_to, items });
            dispatch.open.load(Ordering::Acquire)
        };
        let (late, in_time) = (Some(wall_clock_ms() - 1), Some(wall_clock_ms() + 10_000));
        assert_eq!(open_after(&[late, None]), 0);
        assert_eq!(open_after(&[late, in_time, None, late]), 1, "each item has its own deadline");
    }
}
