//! One batch: commands ordered by room, what can be done together put together, answers addressed.

use std::{collections::HashMap, sync::Arc, time::Instant};

use futures_util::future;
use protocol::{
    Code, Fault, RoomId,
    command::{Command, Join, Outcome},
    envelope::wall_clock_ms,
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use crate::{
    command, metadata, presence,
    store::{Caller, Store},
};

/// Joins of one room, or heartbeats or channels of several, that one script call sees to; a script blocks Redis while it runs.
const SHARED: usize = 128;

/// A command that waits.
pub(crate) struct Incoming {
    pub(crate) id: u64,
    pub(crate) reply_to: Arc<str>,
    pub(crate) deadline_ms: u64,
    pub(crate) command: Command,
    pub(crate) trace: TraceContext,
    pub(crate) arrived: Instant,
}

/// To whom, for which requests, what.
pub(crate) type Addressed = (Arc<str>, Vec<u64>, Arc<Outcome>);

/// Carries out a batch: different rooms side by side, one room's commands in order. Rooms that want nothing but
/// heartbeats share script calls, and so do those that want nothing but metadata.
pub(crate) async fn carry_out(store: &Arc<Store>, batch: impl Iterator<Item = Incoming>) -> Vec<Addressed> {
    let (sharing, others): (Vec<_>, Vec<_>) = by_room(batch).into_iter().partition(|room| sharing(room).is_some());
    let shared = future::join_all(shared_calls(store, sharing).into_iter().map(|call| in_shared_calls(store, call)));
    let others = future::join_all(others.into_iter().map(|room| in_order(store, room)));
    let (shared, others) = future::join(shared, others).await;
    shared.into_iter().chain(others).flatten().collect()
}

/// What rooms can share a script call for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Sharing {
    Heartbeats,
    Metadata,
}

/// What all of a room's commands are.
fn sharing(room: &[Incoming]) -> Option<Sharing> {
    let of = |incoming: &Incoming| match incoming.command {
        Command::Heartbeat(_) => Some(Sharing::Heartbeats),
        Command::Metadata(_) => Some(Sharing::Metadata),
        _ => None,
    };
    let first = of(room.first()?);
    first.filter(|_| room.iter().all(|incoming| of(incoming) == first))
}

/// Puts rooms of one slot together that want the same, as long as a call is not full.
fn shared_calls(store: &Store, rooms: Vec<Vec<Incoming>>) -> Vec<Vec<Incoming>> {
    let mut full = Vec::new();
    let mut open: HashMap<_, Vec<Incoming>> = HashMap::new();
    for room in rooms {
        let slot = room.first().map_or(0, |first| store.slot(first.command.partition()));
        let call = open.entry((sharing(&room), slot)).or_default();
        call.extend(room);
        if call.len() >= SHARED {
            full.push(std::mem::take(call));
        }
    }
    full.extend(open.into_values().filter(|call| !call.is_empty()));
    full
}

/// Commands of one kind in order: no script call takes more than [`SHARED`], however many one room has.
async fn in_shared_calls(store: &Arc<Store>, mut call: Vec<Incoming>) -> Vec<Addressed> {
    let mut answers = Vec::with_capacity(call.len());
    while !call.is_empty() {
        let later = call.split_off(call.len().min(SHARED));
        let mut call = std::mem::replace(&mut call, later);
        // Each time: the calls before may have taken long. What reaches Redis too late is refused there.
        let now = wall_clock_ms();
        call.retain(|incoming| now <= incoming.deadline_ms);
        if call.is_empty() {
            continue;
        }
        answers.extend(match sharing(&call) {
            Some(Sharing::Metadata) => channels(store, call).await,
            // Boxed: it may go on to carry out each by itself, for which there would be room in every call.
            _ => Box::pin(heartbeats(store, call)).await,
        });
    }
    answers
}

async fn heartbeats(store: &Arc<Store>, call: Vec<Incoming>) -> Vec<Addressed> {
    let spans: Vec<Span> = call.iter().map(span).collect();
    let beats = call.iter().zip(&spans).filter_map(|(incoming, span)| match &incoming.command {
        Command::Heartbeat(beat) => Some((beat, span)),
        _ => None,
    });
    let outcomes = match presence::heartbeats(store, deadline_ms(&call), &beats.collect::<Vec<_>>()).await {
        Ok(outcomes) => outcomes,
        // One room that cannot be read shall not spoil the others: each by itself, which repeats some, harmlessly.
        Err(fault) if fault.code == Code::Internal && call.len() > 1 => {
            spans.iter().for_each(|span| telemetry::span::fail(span, fault.code.as_str(), &fault.message));
            return in_order(store, call).await;
        }
        Err(fault) => spans.iter().zip(&call).map(|(span, one)| failed(span, &one.command, fault.clone())).collect(),
    };
    addressed(call, outcomes)
}

async fn channels(store: &Arc<Store>, call: Vec<Incoming>) -> Vec<Addressed> {
    let spans: Vec<Span> = call.iter().map(span).collect();
    let asked = call.iter().zip(&spans).filter_map(|(incoming, span)| match &incoming.command {
        Command::Metadata(asked) => Some((asked, span)),
        _ => None,
    });
    let results = metadata::carry_out(store, deadline_ms(&call), &asked.collect::<Vec<_>>()).await;
    let outcomes = results.into_iter().zip(spans.iter().zip(&call));
    let outcomes =
        outcomes.map(|(result, (span, one))| result.unwrap_or_else(|fault| failed(span, &one.command, fault)));
    let outcomes = outcomes.collect();
    addressed(call, outcomes)
}

/// The earliest deadline of a call.
fn deadline_ms(call: &[Incoming]) -> u64 {
    call.iter().map(|incoming| incoming.deadline_ms).min().unwrap_or(u64::MAX)
}

fn addressed(call: Vec<Incoming>, outcomes: Vec<Outcome>) -> Vec<Addressed> {
    let answers = call.into_iter().zip(outcomes);
    answers.map(|(incoming, outcome)| (incoming.reply_to, vec![incoming.id], Arc::new(outcome))).collect()
}

/// Splits a batch by room; within a room the order stays. What is about a partition stands alone.
fn by_room(batch: impl Iterator<Item = Incoming>) -> Vec<Vec<Incoming>> {
    let mut rooms: Vec<Vec<Incoming>> = Vec::new();
    let mut places: HashMap<RoomId, usize> = HashMap::new();
    for incoming in batch {
        match incoming.command.room().cloned() {
            Some(room) => {
                let place = *places.entry(room).or_insert_with(|| {
                    rooms.push(Vec::new());
                    rooms.len() - 1
                });
                rooms[place].push(incoming);
            }
            None => rooms.push(vec![incoming]),
        }
    }
    rooms
}

/// Carries out commands in order, one after the other.
async fn in_order(store: &Arc<Store>, commands: Vec<Incoming>) -> Vec<Addressed> {
    let mut answers = Vec::with_capacity(commands.len());
    let mut rest = commands.as_slice();
    while let Some((first, others)) = rest.split_first() {
        if first.deadline_ms < wall_clock_ms() {
            // Its sender has given up; to carry it out now could surprise whoever came after.
            rest = others;
            continue;
        }
        let together = rest.iter().take(SHARED).take_while(|one| shared_join(one).is_some()).count();
        let (now, later) = rest.split_at(together.max(1));
        rest = later;
        if together > 1 {
            joins(store, now, &mut answers).await;
        } else {
            let span = span(first);
            let caller = Caller { span: &span, deadline_ms: first.deadline_ms };
            let outcome = command::carry_out(store, caller, &first.command).await;
            let outcome = outcome.unwrap_or_else(|fault| failed(&span, &first.command, fault));
            answers.push((Arc::clone(&first.reply_to), vec![first.id], Arc::new(outcome)));
        }
    }
    answers
}

fn shared_join(incoming: &Incoming) -> Option<&Join> {
    match &incoming.command {
        Command::Join(join) if presence::shares(join) => Some(join),
        _ => None,
    }
}

async fn joins(store: &Arc<Store>, batch: &[Incoming], answers: &mut Vec<Addressed>) {
    let spans: Vec<Span> = batch.iter().map(span).collect();
    let joins: Vec<(&Join, TraceContext)> = batch
        .iter()
        .zip(&spans)
        .filter_map(|(incoming, span)| Some((shared_join(incoming)?, TraceContext::of(span))))
        .collect();
    // The script call belongs to the first traced join; the others are linked to it by their own spans.
    let first = spans.iter().find(|span| !span.is_disabled()).cloned().unwrap_or_else(Span::none);
    let outcome = match presence::join(store, Caller { span: &first, deadline_ms: deadline_ms(batch) }, &joins).await {
        Ok(joined) => {
            spans.iter().enumerate().for_each(|(index, span)| presence::note(span, &joined, index));
            Outcome::Joined(joined)
        }
        Err(fault) => {
            if let Some(one) = batch.first().filter(|_| fault.code == Code::Internal) {
                first.in_scope(|| tell(&one.command, &fault));
            }
            for span in &spans {
                telemetry::span::fail(span, fault.code.as_str(), &fault.message);
            }
            Outcome::Fault(fault)
        }
    };
    let outcome = Arc::new(outcome);
    let mut senders: Vec<&Arc<str>> = batch.iter().map(|incoming| &incoming.reply_to).collect();
    senders.sort_unstable();
    senders.dedup();
    for sender in senders {
        // Each request stands at the place of its join; 0 keeps the places of other gateways' joins.
        let ids = batch.iter().map(|one| if one.reply_to == *sender { one.id } else { 0 }).collect();
        answers.push((Arc::clone(sender), ids, Arc::clone(&outcome)));
    }
}

fn span(incoming: &Incoming) -> Span {
    if incoming.trace.is_empty() {
        return Span::none();
    }
    let span = match incoming.command.name() {
        ("presence", verb) => telemetry::span::presence(verb),
        ("lock", verb) => telemetry::span::lock(verb),
        (_, verb) => telemetry::span::metadata(verb),
    };
    incoming.trace.adopt(&span);
    if let Command::Join(join) = &incoming.command {
        span.record("presence.room_id", join.room.as_str())
            .record("presence.user_id", join.user.as_str())
            .record("presence.conn_id", join.conn.as_str());
    }
    span
}

fn failed(span: &Span, command: &Command, fault: Fault) -> Outcome {
    if fault.code == Code::Internal {
        span.in_scope(|| tell(command, &fault));
    }
    telemetry::span::fail(span, fault.code.as_str(), &fault.message);
    Outcome::Fault(fault)
}

/// What an operator needs to find the broken room.
fn tell(command: &Command, fault: &Fault) {
    let (subject, verb) = command.name();
    let room = command.room().map(RoomId::as_str).unwrap_or_default();
    tracing::error!(room, command = format_args!("{subject}.{verb}"), error = %fault, "a command failed");
}

#[cfg(test)]
mod tests {
    use bus::{Bus, Listener, Role, redis};
    use fred::interfaces::{ClientLike as _, HashesInterface as _, KeysInterface as _};
    use protocol::{
        ChannelId, LockId,
        command::{
            Audit, Heartbeat, Leave, Reap, Restore, Restored,
            lock::{Acquire, Lock},
            metadata::{Act, Change, Metadata, WriteOptions},
        },
        event::Reason,
    };
    use serde_json::value::RawValue;
    use testkit::{Redis, until};

    use super::*;

    struct Deaf;
    impl Listener for Deaf {}

    fn beat(room: &str) -> Heartbeat {
        let (room, conn) = (room.into(), "c".into());
        Heartbeat { room, conn, op: 2, base_op: 1, known_epoch: 7, epoch: None, state: None }
    }

    fn heartbeat(room: &str) -> Command {
        Command::Heartbeat(beat(room))
    }

    fn metadata(room: &str) -> Command {
        Command::Metadata(Metadata { channel: ChannelId { name: room.into(), kind: "T".into() }, act: Act::Get })
    }

    fn incoming((command, id): (Command, u64)) -> Incoming {
        let (reply_to, deadline_ms, trace) = ("asker".into(), u64::MAX, TraceContext::default());
        Incoming { id, reply_to, deadline_ms, command, trace, arrived: Instant::now() }
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
            state: json("{}"),
        })
    }

    fn change(op: u64) -> Change {
        Change { conn: "c".into(), op, author: None, items: Vec::new(), options: WriteOptions::default() }
    }

    async fn open(server: &Redis) -> (Arc<Bus>, Arc<Store>) {
        let connections = redis::connect(redis::parse_url(&server.url()).unwrap()).unwrap();
        let bus = Bus::connect(connections, Role::State, "presence-state-00000001".into());
        bus.start(Arc::new(Deaf));
        until("Redis answers", async || bus.check_redis().ok()).await;
        let store = Arc::new(Store::new(Arc::clone(&bus), 60_000));
        (bus, store)
    }

    /// The keys of all rooms.
    async fn keys(bus: &Bus) -> Vec<String> {
        let mut keys: Vec<String> = bus.commands().custom(fred::cmd!("KEYS"), vec!["prs:{p*"]).await.unwrap();
        keys.sort();
        keys
    }

    fn codes(mut answers: Vec<Addressed>) -> Vec<(u64, &'static str)> {
        answers.sort_by_key(|(_, ids, _)| ids[0]);
        let code = |outcome: &Outcome| match outcome {
            Outcome::Fault(fault) => fault.code.as_str(),
            _ => "done",
        };
        let each = |(_, ids, outcome): &Addressed| ids.iter().map(|id| (*id, code(outcome))).collect::<Vec<_>>();
        answers.iter().flat_map(each).collect()
    }

    /// All that write, each in a room of its own but for joins that share a call.
    fn writes() -> Vec<Command> {
        let gateway = || "presence-gateway-0000000a".into();
        let channel = |room: &str| ChannelId { name: room.into(), kind: "T".into() };
        let member = Restored { conn: "c".into(), user: "ann".into(), op: 1, epoch: 7, state: json("{}") };
        let partition = |room: &str| RoomId::from(room).partition();
        let lock = LockId { channel: channel("locked"), name: "pen".into() };
        vec![
            join("alone", "c"),
            join("together", "a"),
            join("together", "b"),
            Command::Heartbeat(Heartbeat { state: Some(json("1")), ..beat("there") }),
            Command::Leave(Leave { room: "left".into(), conn: "c".into(), op: 2, reason: Reason::Left }),
            Command::Restore(Restore {
                room: "restored".into(),
                gateway: gateway(),
                members: vec![member],
                strays: None,
            }),
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
    async fn what_reaches_redis_too_late_is_not_carried_out() {
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

        // Rooms that share a call: the first of their callers to give up decides.
        let () = bus.commands().custom(fred::cmd!("CLIENT"), vec!["PAUSE", "600", "ALL"]).await.unwrap();
        let deadlines = [wall_clock_ms() + 300, wall_clock_ms() + 5_000];
        let patches =
            ["there", "left"].map(|room| Command::Heartbeat(Heartbeat { state: Some(json("2")), ..beat(room) }));
        let late = patches.into_iter().zip(1..).zip(deadlines);
        let late = late.map(|(one, deadline_ms)| Incoming { deadline_ms, ..incoming(one) });
        assert_eq!(codes(carry_out(&store, late).await)[0], (1, "UNAVAILABLE"));
        let now = writes().into_iter().zip(1..).map(incoming);
        let done: Vec<_> = expected.iter().map(|(id, _)| (*id, "done")).collect();
        assert_eq!(codes(carry_out(&store, now).await), done, "in time all of them are");
    }

    #[tokio::test]
    async fn what_is_late_already_is_neither_carried_out_nor_answered() {
        let server = Redis::start();
        let (bus, store) = open(&server).await;
        let commands = writes().into_iter().chain([heartbeat("there"), metadata("written")]).zip(1..);
        let late = commands.map(|one| Incoming { deadline_ms: wall_clock_ms() - 1, ..incoming(one) });
        assert_eq!(codes(carry_out(&store, late).await), []);
        assert_eq!(keys(&bus).await, [""; 0]);
    }

    /// Whatever shares a script call, and however long each takes: Redis has to be sent the script of the patch first, and knows
    /// that of joins.
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
        for (_, ids, outcome) in answers {
            assert!(!matches!(&*outcome, Outcome::Fault(_) | Outcome::Conflict { .. }), "{ids:?}: {outcome:?}");
        }
        assert!(!keys(&bus).await.iter().any(|key| key.ends_with(":mixed")), "someone left before they came");
    }

    #[tokio::test]
    async fn a_room_that_cannot_be_read_spoils_no_other() {
        let server = Redis::start();
        let (bus, store) = open(&server).await;
        let base = |room: &RoomId| bus.subjects().partition(room.partition());
        let record = |room: &RoomId| keyspace::members(&base(room), room);
        for room in ["before", "after"].map(RoomId::from) {
            let head = (keyspace::room(&base(&room), &room), ("head", "1 1 1 10 1 00000000"));
            let () = bus.commands().hset(head.0, head.1).await.unwrap();
            let () = bus.commands().hset(record(&room), ("c", "7\n1\nn\nann\n{}")).await.unwrap();
        }
        let broken = RoomId::from("broken");
        for key in [record(&broken), keyspace::revisions(&base(&broken), &broken)] {
            let () = bus.commands().set(key, "no hash", None, None, false).await.unwrap();
        }

        let rooms = ["before", "broken", "after"];
        let commands = rooms.map(heartbeat).into_iter().chain(rooms.map(metadata));
        let mut answers = carry_out(&store, commands.zip(1..).map(incoming)).await;
        answers.sort_by_key(|(_, ids, _)| ids[0]);
        let codes: Vec<_> = answers
            .iter()
            .map(|(_, _, outcome)| match &**outcome {
                Outcome::Fault(fault) => fault.code.as_str(),
                Outcome::Beat { .. } => "taken",
                Outcome::Record(_) => "told",
                _ => "something else",
            })
            .collect();
        assert_eq!(codes, ["taken", "INTERNAL", "taken", "told", "INTERNAL", "told"]);
    }
}
