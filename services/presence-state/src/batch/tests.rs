//! Order, deadlines and faults of a batch, against a real Redis.

use fred::interfaces::{ClientLike as _, HashesInterface as _, KeysInterface as _};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rollcall_bus::{Bus, Listener, Role, redis};
use rollcall_protocol::{
    ChannelId, LockId,
    command::{
        Audit, Heartbeat, Leave, Reap, Restore, Restored, SnapshotQuery,
        lock::{Acquire, Lock},
        metadata::{Act, Change, ItemChange, Metadata, WriteOptions},
    },
    event::Reason,
};
use rollcall_service::Tasks;
use rollcall_testkit::{Redis, until};
use serde_json::value::RawValue;

use super::*;
use crate::{
    answers::{Space, Spaces},
    open::Count,
};

struct NullListener;
impl Listener for NullListener {}

fn beat(room: &str) -> Heartbeat {
    let (room, conn) = (room.into(), "c".into());
    Heartbeat { room, conn, op: 2, base_op: 1, known_epoch: 7, epoch: None, info: None, state: None }
}

fn heartbeat(room: &str) -> Command {
    Command::Heartbeat(beat(room))
}

fn metadata(room: &str) -> Command {
    Command::Metadata(Metadata { channel: ChannelId { name: room.into(), kind: "T".into() }, act: Act::Get })
}

fn incoming((command, id): (Command, u64)) -> Incoming {
    let (reply_to, deadline_ms, trace) = ("asker".into(), u64::MAX, TraceContext::default());
    Incoming { id, reply_to, deadline_ms, trace, open: Count::default().begin(command.name()), command }
}

/// Keeps answers instead of sending them.
#[derive(Default)]
struct Kept {
    spaces: Spaces,
    answers: Mutex<Vec<Addressed>>,
    /// The space of the answers, as if they could not be sent; `None` if they are sent at once.
    unsent: Option<Mutex<Vec<Space>>>,
}

impl Outlet for Kept {
    fn spaces(&self) -> &Spaces {
        &self.spaces
    }

    fn send(&self, answers: Vec<Addressed>, mut space: Space) -> usize {
        let bytes = answers.iter().map(|answer| serde_json::to_string(&answer.outcome).unwrap().len());
        let (all, largest) = (bytes.clone().sum(), bytes.max().unwrap_or(0));
        self.answers.lock().extend(answers);
        if let Some(unsent) = &self.unsent {
            space.fit(all);
            unsent.lock().push(space);
        }
        largest
    }
}

/// The answers of a batch.
async fn carry_out(store: &Arc<Store>, batch: impl Iterator<Item = Incoming>) -> Vec<Addressed> {
    let kept = Kept::default();
    super::carry_out(store, &kept, batch.collect()).await;
    kept.answers.into_inner()
}

fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn join(room: &str, conn: &str) -> Command {
    Command::Join(Join {
        room: room.into(),
        user: "ann".into(),
        conn: conn.into(),
        gateway: "presence-gateway-0000000a".into(),
        op: 1,
        known_epoch: 0,
        info: None,
        state: json("{}"),
    })
}

fn change(op: u64) -> Change {
    Change { conn: "c".into(), op, author: None, items: Vec::new(), options: WriteOptions::default() }
}

async fn open(server: &Redis) -> (Arc<Bus>, Arc<Store>) {
    let connections = redis::connect(redis::Config::from_url(&server.url()).unwrap()).unwrap();
    let bus = Bus::connect(connections, Role::State, "presence-state-00000001".into());
    bus.start(Arc::new(NullListener));
    until("Redis answers", async || bus.check_redis().ok()).await;
    let store = Arc::new(Store::new(Arc::clone(&bus), 60_000, Tasks::default().spawner()));
    (bus, store)
}

/// The keys of all rooms.
async fn keys(bus: &Bus) -> Vec<String> {
    let mut keys: Vec<String> = bus.commands().custom(fred::cmd!("KEYS"), vec!["prs:{p*"]).await.unwrap();
    keys.sort();
    keys
}

fn codes(mut answers: Vec<Addressed>) -> Vec<(u64, &'static str)> {
    answers.sort_by_key(|answer| answer.ids[0]);
    let code = |outcome: &Outcome| match outcome {
        Outcome::Fault(fault) => fault.code.as_str(),
        _ => "done",
    };
    let each = |answer: &Addressed| {
        let Addressed { ids, outcome, .. } = answer;
        ids.iter().map(|id| (*id, code(outcome))).collect::<Vec<_>>()
    };
    answers.iter().flat_map(each).collect()
}

/// Every command that writes, each in its own room except for joins that share a call.
fn writes() -> Vec<Command> {
    let gateway = || "presence-gateway-0000000a".into();
    let channel = |room: &str| ChannelId { name: room.into(), kind: "T".into() };
    let member = Restored { conn: "c".into(), user: "ann".into(), op: 1, epoch: 7, info: None, state: json("{}") };
    let partition = |room: &str| RoomId::from(room).partition();
    let lock = LockId { channel: channel("locked"), name: "pen".into() };
    vec![
        join("alone", "c"),
        join("together", "a"),
        join("together", "b"),
        Command::Heartbeat(Heartbeat { state: Some(json("1")), ..beat("there") }),
        Command::Leave(Leave { room: "left".into(), conn: "c".into(), op: 2, reason: Reason::Left }),
        Command::Restore(Restore { room: "restored".into(), gateway: gateway(), members: vec![member], strays: None }),
        Command::Metadata(Metadata { channel: channel("written"), act: Act::Set(change(2)) }),
        Command::Lock(Lock::Acquire(Acquire {
            lock,
            user: "ann".into(),
            conn: "c".into(),
            gateway: gateway(),
            op: 2,
            ttl_ms: 10_000,
            wait_ms: 0,
        })),
        Command::Reap(Reap { partition: partition("reaped"), gone: Vec::new() }),
        Command::Audit(Audit {
            partition: partition("audited"),
            gateway: gateway(),
            rooms: vec![("audited".into(), 1)],
            strays_before_ms: 0,
        }),
    ]
}

#[tokio::test]
async fn commands_that_reach_redis_after_their_deadline_are_not_carried_out() {
    let server = Redis::start();
    let (bus, store) = open(&server).await;
    let members = ["there", "left"].map(|room| join(room, "c"));
    carry_out(&store, members.into_iter().zip(1..).map(incoming)).await;
    let before = keys(&bus).await;
    let commands = writes();
    let expected: Vec<_> = (1..).zip(&commands).map(|(id, _)| (id, "UNAVAILABLE")).collect();
    let () = bus.commands().custom(fred::cmd!("CLIENT"), vec!["PAUSE", "600", "ALL"]).await.unwrap();
    let deadline_ms = wall_clock_ms() + 300;
    let late = commands.into_iter().zip(1..).map(|one| Incoming { deadline_ms, ..incoming(one) });
    assert_eq!(codes(carry_out(&store, late).await), expected);
    assert_eq!(keys(&bus).await, before);

    // Rooms that share a call: the earliest deadline counts.
    let () = bus.commands().custom(fred::cmd!("CLIENT"), vec!["PAUSE", "600", "ALL"]).await.unwrap();
    let deadlines = [wall_clock_ms() + 300, wall_clock_ms() + 5_000];
    let patches = ["there", "left"].map(|room| Command::Heartbeat(Heartbeat { state: Some(json("2")), ..beat(room) }));
    let late = patches.into_iter().zip(1..).zip(deadlines);
    let late = late.map(|(one, deadline_ms)| Incoming { deadline_ms, ..incoming(one) });
    assert_eq!(codes(carry_out(&store, late).await)[0], (1, "UNAVAILABLE"));
    let now = writes().into_iter().zip(1..).map(incoming);
    let done: Vec<_> = expected.iter().map(|(id, _)| (*id, "done")).collect();
    assert_eq!(codes(carry_out(&store, now).await), done, "in time all of them are");
}

#[tokio::test]
async fn commands_that_are_late_already_are_neither_carried_out_nor_answered() {
    let server = Redis::start();
    let (bus, store) = open(&server).await;
    let commands = writes().into_iter().chain([heartbeat("there"), metadata("written")]).zip(1..);
    let late = commands.map(|one| Incoming { deadline_ms: wall_clock_ms() - 1, ..incoming(one) });
    assert_eq!(codes(carry_out(&store, late).await), []);
    assert_eq!(keys(&bus).await, [""; 0]);
}

/// Also if a later command could run sooner: Redis has to be sent the script of the patch first, and has that of joins.
#[tokio::test]
async fn one_rooms_commands_keep_their_order() {
    let server = Redis::start();
    let (bus, store) = open(&server).await;
    carry_out(&store, [(join("there", "c"), 1)].into_iter().map(incoming)).await;
    let Command::Join(again) = join("there", "c") else { return };
    let again = Command::Join(Join { op: 3, known_epoch: 7, ..again });
    let patch = Command::Heartbeat(Heartbeat { state: Some(json("2")), ..beat("there") });
    let answers = carry_out(&store, [patch, again].into_iter().zip(1..).map(incoming)).await;
    assert_eq!(codes(answers), [(1, "done"), (2, "done")], "the patch was overtaken");
    let patch = |n: u64| {
        let state = Some(json(&n.to_string()));
        Command::Heartbeat(Heartbeat { op: n, base_op: n - 1, state, ..beat("there") })
    };
    let write = |n: u64| {
        let channel = ChannelId { name: "written".into(), kind: "T".into() };
        Command::Metadata(Metadata { channel, act: Act::Set(change(n)) })
    };
    let mixed = |n: u64| {
        let (room, reason) = ("mixed".into(), Reason::Left);
        let leave = Leave { room, conn: n.to_string().into(), op: 2, reason };
        [join("mixed", &n.to_string()), Command::Leave(leave)]
    };
    let commands = (4..60).flat_map(|n| [patch(n), write(n)]).chain((1..30).flat_map(mixed));
    let answers = carry_out(&store, commands.zip(1..).map(incoming)).await;
    for Addressed { ids, outcome, .. } in answers {
        assert!(!matches!(&*outcome, Outcome::Fault(_) | Outcome::Conflict { .. }), "{ids:?}: {outcome:?}");
    }
    assert!(!keys(&bus).await.iter().any(|key| key.ends_with(":mixed")), "someone left before they came");
}

#[tokio::test]
async fn a_room_that_cannot_be_read_does_not_affect_others() {
    let server = Redis::start();
    let (bus, store) = open(&server).await;
    let base = |room: &RoomId| bus.subjects().partition(room.partition());
    let record = |room: &RoomId| rollcall_keyspace::members(&base(room), room);
    for room in ["before", "after"].map(RoomId::from) {
        let head = (rollcall_keyspace::room(&base(&room), &room), ("head", "1 1 1 10 1 00000000"));
        let () = bus.commands().hset(head.0, head.1).await.unwrap();
        let () = bus.commands().hset(record(&room), ("c", "7\n1\nn\nann\n\n{}")).await.unwrap();
    }
    let broken = RoomId::from("broken");
    for key in [record(&broken), rollcall_keyspace::revisions(&base(&broken), &broken)] {
        let () = bus.commands().set(key, "no hash", None, None, false).await.unwrap();
    }

    let rooms = ["before", "broken", "after"];
    let commands = rooms.map(heartbeat).into_iter().chain(rooms.map(metadata));
    let mut answers = carry_out(&store, commands.zip(1..).map(incoming)).await;
    answers.sort_by_key(|answer| answer.ids[0]);
    let codes: Vec<_> = answers
        .iter()
        .map(|answer| match &*answer.outcome {
            Outcome::Fault(fault) => fault.code.as_str(),
            Outcome::Beat { .. } => "taken",
            Outcome::Record(_) => "read",
            _ => "something else",
        })
        .collect();
    assert_eq!(codes, ["taken", "INTERNAL", "taken", "read", "INTERNAL", "read"]);
}

#[tokio::test]
async fn who_reads_the_same_channel_shares_a_read_until_it_is_written() {
    let server = Redis::start();
    let (_bus, store) = open(&server).await;
    let write = |n: u64| {
        let channel = ChannelId { name: "written".into(), kind: "T".into() };
        Command::Metadata(Metadata { channel, act: Act::Set(change(n)) })
    };
    let read = || metadata("written");
    // Also among commands that share no call with other rooms.
    for (first, op) in [(metadata("first"), 1), (join("written", "c"), 3)] {
        let commands = [first, write(op), read(), read(), write(op + 1), read(), metadata("other"), read()];
        let answers = carry_out(&store, commands.into_iter().zip(1..).map(incoming)).await;
        let mut ids: Vec<_> = answers.iter().map(|answer| answer.ids.clone()).collect();
        ids.sort();
        assert_eq!(ids, [vec![1], vec![2], vec![3, 4], vec![5], vec![6, 8], vec![7]]);
        let revision = |id| match &*answers.iter().find(|answer| answer.ids.contains(&id)).unwrap().outcome {
            Outcome::Record(record) => record.major_revision,
            other => panic!("{other:?}"),
        };
        assert_eq!((revision(2), revision(5)), (revision(3), revision(6)), "each reads what was written before");
    }
    let asked = |sender: &str, id| Incoming { reply_to: sender.into(), ..incoming((read(), id)) };
    let answers = carry_out(&store, [asked("a", 1), asked("b", 2), asked("a", 3)].into_iter()).await;
    let sent: Vec<_> = answers.iter().map(|answer| (&*answer.reply_to, &answer.ids[..])).collect();
    assert_eq!(sent, [("a", &[1, 3][..]), ("b", &[2])], "each sender is answered");
    assert!(Arc::ptr_eq(&answers[0].outcome, &answers[1].outcome));
}

#[tokio::test]
async fn no_more_is_read_than_answers_may_wait() {
    const LARGE: usize = 200 * 1024;
    let server = Redis::start();
    let (_bus, store) = open(&server).await;
    // Eight names with 16 channels each, 25 MiB in all.
    let channel = |n: u64| ChannelId { name: format!("large {}", n % 8).into(), kind: format!("T{n}").into() };
    let value = json(&format!("\"{}\"", "x".repeat(LARGE)));
    let write = |n: u64| {
        let item = ItemChange { key: "k".into(), value: Some(value.clone()), revision: None };
        let act = Act::Set(Change { items: vec![item], ..change(n + 1) });
        (Command::Metadata(Metadata { channel: channel(n), act }), n)
    };
    carry_out(&store, (0..128).map(write).map(incoming)).await;

    let kept = Arc::new(Kept { unsent: Some(Mutex::default()), ..Kept::default() });
    let read = |n: u64| (Command::Metadata(Metadata { channel: channel(n), act: Act::Get }), n);
    let reads = (0..128).map(read).map(incoming).collect();
    let (outlet, store) = (Arc::clone(&kept), Arc::clone(&store));
    let reading = tokio::spawn(async move { super::carry_out(&store, &*outlet, reads).await });
    let count = || kept.answers.lock().len();
    until("as much to be read as may wait", async || (count() >= 70).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(count() < 90 && !reading.is_finished(), "{} answers of 200 KiB wait", count());
    until("the rest to be read as answers are sent", async || {
        kept.unsent.as_ref().unwrap().lock().clear();
        reading.is_finished().then_some(())
    })
    .await;
    assert_eq!(count(), 128);
}

/// Takes all space there is for snapshots of a room; returns it.
fn take_all(spaces: &Spaces, snapshot: &Command) -> Vec<Space> {
    std::iter::from_fn(|| spaces.take(snapshot).now_or_never()).collect()
}

#[tokio::test]
async fn what_its_asker_gave_up_while_it_waited_for_space_is_not_read() {
    let server = Redis::start();
    let (_bus, store) = open(&server).await;
    let snapshot = || Command::Snapshot(SnapshotQuery { room: "room".into(), known: None });
    carry_out(&store, [(join("room", "first"), 1)].into_iter().map(incoming)).await;
    let kept = Arc::new(Kept::default());
    let all = take_all(&kept.spaces, &snapshot());
    // Joins of one room share a call: the late one fails no other.
    let commands = [snapshot(), join("room", "late"), join("room", "in time")].into_iter().zip(1..);
    let deadlines = [wall_clock_ms() + 100, wall_clock_ms() + 100, u64::MAX];
    let batch = commands.zip(deadlines).map(|(one, deadline_ms)| Incoming { deadline_ms, ..incoming(one) }).collect();
    let outlet = Arc::clone(&kept);
    let working = tokio::spawn(async move { super::carry_out(&store, &*outlet, batch).await });
    until("the deadline to be over", async || (deadlines[0] < wall_clock_ms()).then_some(())).await;
    drop(all);
    working.await.unwrap();
    let answers = std::mem::take(&mut *kept.answers.lock());
    assert_eq!(codes(answers), [(3, "done")]);
}

#[tokio::test]
async fn how_large_a_room_is_is_learned_from_what_lists_it_alone() {
    let server = Redis::start();
    let (bus, store) = open(&server).await;
    let kept = Kept::default();
    let state = format!("\"{}\"", "x".repeat(15 * 1024));
    let large = |conn: &str| match join("large", conn) {
        Command::Join(one) => Command::Join(Join { state: json(&state), ..one }),
        other => other,
    };
    let joins: Vec<_> = (1..65).map(|id| incoming((large(&id.to_string()), id))).collect();
    super::carry_out(&store, &kept, joins).await;
    let snapshot = |known| Command::Snapshot(SnapshotQuery { room: "large".into(), known });
    let ask = async |known| {
        super::carry_out(&store, &kept, vec![incoming((snapshot(known), 1))]).await;
        kept.answers.lock().pop().unwrap().outcome
    };
    let Outcome::Snapshot(read) = &*ask(None).await else { panic!("no snapshot") };
    let fits = || take_all(&kept.spaces, &snapshot(None)).len();
    assert!((10..18).contains(&fits()), "a room of about 1 MiB: {}", fits());
    let expected = fits();
    assert!(matches!(*ask(Some(read.at)).await, Outcome::Unchanged));
    assert_eq!(fits(), expected, "an answer that lists nothing was taken for the room's size");
    let base = bus.subjects().partition(RoomId::from("large").partition());
    let () = bus
        .commands()
        .set(rollcall_keyspace::members(&base, &"large".into()), "no hash", None, None, false)
        .await
        .unwrap();
    assert!(matches!(*ask(None).await, Outcome::Fault(_)));
    assert_eq!(fits(), expected, "a fault was taken for the room's size");
}

#[tokio::test]
async fn commands_whose_work_panics_are_answered_internal() {
    let commands: Vec<_> = [(heartbeat("a"), 1), (metadata("b"), 2)].map(incoming).into();
    let panics = async {
        tokio::task::yield_now().await;
        panic!("on purpose")
    };
    assert_eq!(codes(panics::catch(&commands, panics).await.answers), [(1, "INTERNAL"), (2, "INTERNAL")]);
    let works = async { Done::all(&commands, addressed(&commands, vec![Outcome::Missing, Outcome::Missing])) };
    assert_eq!(codes(panics::catch(&commands, works).await.answers), [(1, "done"), (2, "done")]);
}
