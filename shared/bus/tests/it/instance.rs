//! One instance of a service: a bus on a runtime of its own, so that it can die like a process, and a listener that records what
//! it received.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rollcall_bus::{Bus, Listener, Reply, Role, redis};
use rollcall_protocol::{
    Code, Fault, InstanceId, Partition, RoomId,
    command::{Command, Outcome},
    envelope::{Envelope, Item},
};
use tokio::runtime::Runtime;

/// How an instance handles requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Each is answered with the instance's name.
    Answers,
    /// Those of one message share one answer, the rooms that they ask for.
    AnswersTogether,
    /// The room's name says how many KiB its answer has.
    AnswersAtLength,
    Refuses,
    Ignores,
}

/// What an instance received.
#[derive(Default)]
pub(crate) struct Received {
    /// Room and traceparent of each request.
    pub(crate) requests: Mutex<Vec<(String, Option<String>)>>,
    /// Room and deadline of each request.
    pub(crate) deadlines: Mutex<Vec<(String, u64)>>,
    /// Channel and text of each event.
    pub(crate) events: Mutex<Vec<(String, String)>>,
    pub(crate) gaps: AtomicUsize,
    pub(crate) channel_gaps: Mutex<Vec<String>>,
    /// How many partitions each change of history was about.
    pub(crate) histories: Mutex<Vec<usize>>,
}

struct Recorder {
    bus: Arc<Bus>,
    manner: Manner,
    received: Arc<Received>,
}

impl Listener for Recorder {
    fn on_request(&self, envelope: &Envelope<'_>) {
        let requests = envelope.items.iter().map(|item| (room(item), item.traceparent.clone()));
        self.received.requests.lock().unwrap().extend(requests);
        let deadlines = envelope.items.iter().map(|item| (room(item), item.deadline_ms.unwrap()));
        self.received.deadlines.lock().unwrap().extend(deadlines);
        let answers = self.answers(envelope);
        let (bus, reply_to) = (Arc::clone(&self.bus), envelope.reply_to.clone());
        tokio::spawn(async move { bus.reply(&reply_to, &answers).await });
    }

    fn on_event(&self, channel: &str, text: &str) {
        self.received.events.lock().unwrap().push((channel.to_owned(), text.to_owned()));
    }

    fn on_gap(&self) {
        self.received.gaps.fetch_add(1, Ordering::SeqCst);
    }

    fn on_channel_gap(&self, channel: &str) {
        self.received.channel_gaps.lock().unwrap().push(channel.to_owned());
    }

    fn on_history(&self, partitions: &[Partition]) {
        self.received.histories.lock().unwrap().push(partitions.len());
    }
}

impl Recorder {
    fn answers(&self, envelope: &Envelope<'_>) -> Vec<Reply> {
        let items = envelope.items.iter();
        let each =
            |outcome: Outcome| items.clone().map(|item| Reply::new(item.ids.clone(), &outcome).unwrap()).collect();
        match self.manner {
            Manner::Answers => each(names([self.bus.instance().as_str().into()])),
            Manner::AnswersTogether => {
                let ids = items.clone().flat_map(|item| item.ids.clone()).collect();
                vec![Reply::new(ids, &names(items.map(|item| room(item).into()))).unwrap()]
            }
            Manner::AnswersAtLength => {
                let long = |item: &Item<'_>| "x".repeat(room(item).parse::<usize>().unwrap() * 1024);
                let reply = |item: &Item<'_>| Reply::new(item.ids.clone(), &names([long(item).into()])).unwrap();
                items.map(reply).collect()
            }
            Manner::Refuses => each(Outcome::Fault(Fault::new(Code::RoomConflict, "no"))),
            Manner::Ignores => Vec::new(),
        }
    }
}

/// An answer that holds names.
fn names(names: impl IntoIterator<Item = RoomId>) -> Outcome {
    Outcome::Audited { differing: names.into_iter().collect(), removed: 0 }
}

fn room(item: &Item<'_>) -> String {
    let command: Command = serde_json::from_str(item.body.get()).unwrap();
    command.room().unwrap().as_str().to_owned()
}

/// See the module.
pub(crate) struct Instance {
    pub(crate) bus: Arc<Bus>,
    pub(crate) received: Arc<Received>,
    runtime: Option<Runtime>,
}

impl Instance {
    pub(crate) fn start(url: &str, role: Role, name: &str, manner: Manner) -> Self {
        Self::start_at(redis::Config::from_url(url).unwrap(), role, name, manner)
    }

    pub(crate) fn start_at(settings: redis::Config, role: Role, name: &str, manner: Manner) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _entered = runtime.enter();
        let redis = redis::connect(settings).unwrap();
        let bus = Bus::connect(redis, role, name.into());
        let received = Arc::new(Received::default());
        bus.start(Arc::new(Recorder { bus: Arc::clone(&bus), manner, received: Arc::clone(&received) }));
        drop(_entered);
        Self { bus, received, runtime: Some(runtime) }
    }

    pub(crate) fn name(&self) -> &InstanceId {
        self.bus.instance()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.bus.check_redis().is_ok() && self.bus.check_inbox().is_ok()
    }
}

/// Dies in the middle of everything, without deregistering.
impl Drop for Instance {
    fn drop(&mut self) {
        let runtime = self.runtime.take();
        thread::spawn(move || drop(runtime));
    }
}
