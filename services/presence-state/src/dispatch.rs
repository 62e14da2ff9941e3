//! Queues: what comes from the bus waits here, bounded, and is taken in batches by workers. A room always has the same
//! worker, so that its commands keep their order.

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
use telemetry::{
    metrics::{self, Reading},
    propagation::TraceContext,
};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    batch::{self, Incoming},
    seldom::Seldom,
    store::Store,
};

/// Rooms are spread over so many workers. Few, since a worker's batch is the larger the fewer there are.
const WORKERS: usize = 2;
/// Commands that may wait for one worker.
const QUEUE: usize = 8_192;
/// Commands that a worker takes at once.
const BATCH: usize = 512;

static LATE: Seldom = Seldom::new();

/// Takes requests from the bus.
pub(crate) struct Dispatch {
    bus: Arc<Bus>,
    workers: Vec<mpsc::Sender<Incoming>>,
    open: Arc<AtomicUsize>,
}

impl Dispatch {
    /// Begins the workers.
    pub(crate) fn start(bus: Arc<Bus>, store: Store) -> Arc<Self> {
        let store = Arc::new(store);
        let open = Arc::new(AtomicUsize::new(0));
        let workers = (0..=WORKERS)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(QUEUE);
                tokio::spawn(work(Arc::clone(&bus), Arc::clone(&store), receiver, Arc::clone(&open)));
                sender
            })
            .collect();
        metrics::begin_state();
        let waiting = Arc::clone(&open);
        metrics::observe(Reading::CommandsWaiting, move || Some(waiting.load(Ordering::Relaxed) as f64));
        Arc::new(Self { bus, workers, open })
    }

    /// Resolves when nothing is under way.
    pub(crate) async fn drained(&self) {
        // A moment first: what was published before the goodbye may still be on its way here.
        sleep(Duration::from_millis(100)).await;
        while self.open.load(Ordering::Acquire) > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn worker(&self, command: &Command) -> &mpsc::Sender<Incoming> {
        // What is about a whole partition takes long, and has a worker of its own.
        let at = if command.room().is_some() { command.partition().index() % WORKERS } else { WORKERS };
        &self.workers[at]
    }

    fn refuse(&self, reply_to: &str, ids: Vec<u64>, fault: Fault) {
        let (bus, reply_to) = (Arc::clone(&self.bus), reply_to.to_owned());
        tokio::spawn(async move { bus.reply(&reply_to, &[(ids, Arc::new(Outcome::Fault(fault)))]).await });
    }
}

impl Listener for Dispatch {
    fn on_request(&self, envelope: &Envelope<'_>) {
        if envelope.deadline_ms < wall_clock_ms() {
            if let Some(left_out) = LATE.take() {
                let count = envelope.items.len();
                tracing::warn!(sender = %envelope.sender, count, left_out, "dropped requests past their deadline");
            }
            return;
        }
        let arrived = Instant::now();
        let reply_to: Arc<str> = envelope.reply_to.as_str().into();
        for item in &envelope.items {
            let command = match serde_json::from_str::<Command>(item.body.get()) {
                Ok(command) => command,
                Err(error) => {
                    tracing::warn!(%error, sender = %envelope.sender, "refused a command that this version does not know");
                    self.refuse(&reply_to, item.ids.clone(), Fault::new(Code::Internal, "the command is not known"));
                    continue;
                }
            };
            let trace = TraceContext::read(item.traceparent.as_deref(), item.tracestate.as_deref());
            let incoming = Incoming {
                id: item.ids.first().copied().unwrap_or(0),
                reply_to: Arc::clone(&reply_to),
                deadline_ms: envelope.deadline_ms,
                command,
                trace,
                arrived,
            };
            match self.worker(&incoming.command).try_send(incoming) {
                Ok(()) => drop(self.open.fetch_add(1, Ordering::AcqRel)),
                Err(_) => self.refuse(
                    &reply_to,
                    item.ids.clone(),
                    Fault::new(Code::Overloaded, "too many commands are waiting; slow down"),
                ),
            }
        }
    }
}

async fn work(bus: Arc<Bus>, store: Arc<Store>, mut queue: mpsc::Receiver<Incoming>, open: Arc<AtomicUsize>) {
    let mut taken = Vec::new();
    while queue.recv_many(&mut taken, BATCH).await > 0 {
        let count = taken.len();
        let arrivals: Vec<_> = taken.iter().map(|incoming| (incoming.command.name(), incoming.arrived)).collect();
        let answers = batch::carry_out(&store, taken.drain(..)).await;
        let mut replies: HashMap<Arc<str>, Vec<_>> = HashMap::new();
        for (reply_to, ids, outcome) in answers {
            replies.entry(reply_to).or_default().push((ids, outcome));
        }
        // Not awaited: the next batch need not wait for Redis to take these.
        let (bus, open) = (Arc::clone(&bus), Arc::clone(&open));
        tokio::spawn(async move {
            future::join_all(replies.iter().map(|(reply_to, items)| bus.reply(reply_to, items))).await;
            for ((about, verb), arrived) in arrivals {
                metrics::command(about, verb, arrived.elapsed());
            }
            open.fetch_sub(count, Ordering::AcqRel);
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

    fn dispatch(server: &Redis) -> Arc<Dispatch> {
        let connections = redis::connect(redis::parse_url(&server.url()).unwrap()).unwrap();
        let bus = Bus::connect(connections, Role::State, "presence-state-00000001".into());
        Dispatch::start(Arc::clone(&bus), Store::new(bus, 60_000))
    }

    fn snapshot(room: &str) -> Command {
        Command::Snapshot(SnapshotQuery { room: room.into(), known: None })
    }

    #[tokio::test]
    async fn a_room_always_has_the_same_worker_and_both_have_rooms() {
        let dispatch = dispatch(&Redis::start());
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
    async fn requests_past_their_deadline_are_not_taken() {
        let dispatch = dispatch(&Redis::start());
        let body = serde_json::value::to_raw_value(&snapshot("room")).unwrap();
        let open_after = |deadline_ms| {
            let items = vec![Item { ids: vec![1], traceparent: None, tracestate: None, body: &body }];
            let (kind, sender, reply_to) = (Kind::Request, "presence-gateway-0000000a".into(), "inbox".to_owned());
            dispatch.on_request(&Envelope { version: VERSION, id: 1, kind, sender, reply_to, deadline_ms, items });
            dispatch.open.load(Ordering::Acquire)
        };
        assert_eq!(open_after(wall_clock_ms() - 1), 0);
        assert_eq!(open_after(wall_clock_ms() + 10_000), 1);
    }
}
