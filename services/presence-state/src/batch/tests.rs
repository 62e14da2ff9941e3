//! Batches against a real Redis.
//!
//! - `order`: of one room's commands, and what shares a call. `deadlines`, `faults`, and `space`: what may wait to be sent.

mod deadlines;
mod faults;
mod order;
mod space;

use fred::interfaces::ClientLike as _;
use parking_lot::Mutex;
use rollcall_bus::{Bus, Listener, Role, redis};
use rollcall_protocol::{
    ChannelId, LockId,
    command::{
        Audit, Heartbeat, Leave, Reap, Restore, Restored,
        lock::{Acquire, Lock},
        metadata::{Act, Change, Metadata, WriteOptions},
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
