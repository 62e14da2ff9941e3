//! Commands from the bus: each waits in the queue of its worker, which takes them in batches. A room always has the same worker,
//! so its commands keep their order.

use std::{sync::Arc, time::Duration};

use rollcall_bus::{Bus, Listener};
use rollcall_protocol::{
    Code, Fault, Partition, RoomId,
    command::{Command, Outcome},
    envelope::{Envelope, wall_clock_ms},
};
use rollcall_service::Tasks;
use rollcall_telemetry::{
    LogLimit,
    metrics::{self, Reading},
    propagation::TraceContext,
};
use tokio::time::sleep;

use crate::{
    answers::{Addressed, Answers, Outlet as _},
    batch::{self, Incoming},
    open::Count,
    queue::Queue,
    store::Store,
};

/// Workers over which rooms are spread. Few workers make large batches.
const WORKERS: usize = 2;
/// The most commands in one batch.
const BATCH: usize = 512;

static LATE: LogLimit = LogLimit::new(Duration::from_secs(10));

/// Takes requests from the bus and queues them.
pub(crate) struct Dispatch {
    workers: Vec<Arc<Queue<Lane, Incoming>>>,
    open: Count,
    answers: Arc<Answers>,
}

/// What commands are kept in order for.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Lane {
    Room(RoomId),
    Partition(Partition),
}

impl Dispatch {
    /// Starts the workers.
    pub(crate) fn start(bus: Arc<Bus>, store: &Arc<Store>, tasks: &Tasks) -> Arc<Self> {
        let open = Count::default();
        let answers = Answers::new(bus, tasks.spawner());
        let workers = (0..=WORKERS)
            .map(|_| {
                let queue = Arc::new(Queue::default());
                let work = work(Arc::clone(&answers), Arc::clone(store), Arc::clone(&queue));
                tasks.spawn_permanent("command worker", work);
                queue
            })
            .collect();
        metrics::begin_state();
        let waiting = open.clone();
        metrics::observe(Reading::CommandsWaiting, move || Some(waiting.get() as f64));
        Arc::new(Self { workers, open, answers })
    }

    /// Resolves when every command has been answered.
    pub(crate) async fn drained(&self) {
        // Requests that were published before the lease ended may still arrive.
        sleep(Duration::from_millis(100)).await;
        while self.open.get() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn worker(&self, command: &Command) -> &Arc<Queue<Lane, Incoming>> {
        // Commands for a partition take long and have their own worker.
        let at = if command.room().is_some() { command.partition().index() % WORKERS } else { WORKERS };
        &self.workers[at]
    }

    fn reject(&self, reply_to: &Arc<str>, ids: Vec<u64>, code: Code, why: &'static str) {
        if !ids.is_empty() {
            let (reply_to, outcome) = (Arc::clone(reply_to), Arc::new(Outcome::Fault(Fault::new(code, why))));
            let answer = Addressed { reply_to, ids, outcome, open: Vec::new() };
            self.answers.send(vec![answer], self.answers.spaces().none());
        }
    }
}

impl Listener for Dispatch {
    fn on_request(&self, envelope: &Envelope<'_>) {
        let now_ms = wall_clock_ms();
        let reply_to: Arc<str> = envelope.reply_to.as_str().into();
        let (mut late, mut unknown, mut full) = (0, Vec::new(), Vec::new());
        for item in &envelope.items {
            let Some(deadline_ms) = item.deadline_ms.filter(|deadline_ms| now_ms <= *deadline_ms) else {
                late += 1;
                continue;
            };
            let command = match serde_json::from_str::<Command>(item.body.get()) {
                Ok(command) => command,
                Err(error) => {
                    tracing::warn!(%error, sender = %envelope.sender, "rejected unknown command");
                    unknown.extend(&item.ids);
                    continue;
                }
            };
            let lane = match command.room() {
                Some(room) => Lane::Room(room.clone()),
                None => Lane::Partition(command.partition()),
            };
            let worker = self.worker(&command);
            let incoming = Incoming {
                id: item.ids.first().copied().unwrap_or(0),
                reply_to: Arc::clone(&reply_to),
                deadline_ms,
                trace: TraceContext::read(item.traceparent.as_deref(), item.tracestate.as_deref()),
                open: self.open.begin(command.name()),
                command,
            };
            if worker.push(lane, incoming, item.body.get().len()).is_err() {
                full.extend(&item.ids);
            }
        }
        self.reject(&reply_to, unknown, Code::Internal, "the command is not known");
        self.reject(&reply_to, full, Code::Overloaded, "too many commands are waiting; slow down");
        if late > 0
            && let Some(suppressed) = LATE.admit()
        {
            tracing::warn!(sender = %envelope.sender, count = late, suppressed, "dropped requests past their deadline");
        }
    }
}

async fn work(answers: Arc<Answers>, store: Arc<Store>, queue: Arc<Queue<Lane, Incoming>>) {
    loop {
        let batch = queue.take(BATCH).await;
        batch::carry_out(&store, &answers, batch).await;
    }
}

#[cfg(test)]
mod tests {
    use rollcall_bus::{Role, redis};
    use rollcall_protocol::{
        command::SnapshotQuery,
        envelope::{Item, Kind, VERSION},
    };
    use rollcall_testkit::Redis;

    use super::*;

    fn dispatch(server: &Redis, tasks: &Tasks) -> Arc<Dispatch> {
        let connections = redis::connect(redis::Config::from_url(&server.url()).unwrap()).unwrap();
        let bus = Bus::connect(connections, Role::State, "presence-state-00000001".into());
        let store = Arc::new(Store::new(Arc::clone(&bus), 60_000, tasks.spawner()));
        Dispatch::start(bus, &store, tasks)
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
            dispatch.workers.iter().position(|worker| Arc::ptr_eq(worker, chosen)).unwrap()
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
            dispatch.open.get()
        };
        let (late, in_time) = (Some(wall_clock_ms() - 1), Some(wall_clock_ms() + 10_000));
        assert_eq!(open_after(&[late, None]), 0);
        assert_eq!(open_after(&[late, in_time, None, late]), 1, "each item has its own deadline");
    }
}
