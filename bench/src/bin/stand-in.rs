//! A stand-in for a gateway with thousands of members in one room. It holds a real lease and sends real joins over the real bus,
//! but has no sockets: ten thousand members that see each other join are fifty million messages, and none of them matters for
//! what happens when their gateway dies.
//!
//! `stand-in ROOM MEMBERS STATE`, with `REDIS_URL` set. It prints `joined` once all are members, and then keeps its
//! lease until it is killed.

use std::{env, error::Error, sync::Arc, time::Duration};

use rollcall_bus::{Answer, Bus, Listener, Role, redis};
use rollcall_protocol::{
    ConnId, InstanceId, RoomId, UserId,
    command::{Command, Join, JoinResult, Outcome},
};
use rollcall_telemetry::propagation::TraceContext;
use serde_json::value::RawValue;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// Joins under way at a time: as many as presence-state puts into one script call.
const TOGETHER: usize = 128;
/// How often a join is tried, 1.8 s each.
const TRIES: usize = 5;
/// How long Redis and a presence-state may take until they are there.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Ignores all messages: there are no sockets to deliver them to.
struct NullListener;
impl Listener for NullListener {}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [room, members, state] =
        env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "ROOM MEMBERS STATE")?;
    let (members, state) = (members.parse::<usize>()?, RawValue::from_string(state)?);
    let gateway = InstanceId::from(format!("presence-gateway-{:08x}", std::process::id()).as_str());
    let connections = redis::connect(redis::Config::from_url(&env::var("REDIS_URL")?)?)?;
    let bus = Bus::connect(connections, Role::Gateway, gateway.clone());
    bus.start(Arc::new(NullListener));
    timeout(START_WITHIN, ready(&bus)).await.map_err(|_| "Redis or presence-state is not there")?;

    let join = |number: usize| Join {
        room: RoomId::from(room.as_str()),
        user: UserId::from(format!("user-{number}").as_str()),
        conn: ConnId::from(format!("{gateway}-{number}").as_str()),
        gateway: gateway.clone(),
        op: 1,
        known_epoch: 0,
        info: None,
        state: state.clone(),
    };
    let numbers: Vec<_> = (0..members).collect();
    for together in numbers.chunks(TOGETHER) {
        let mut joins = JoinSet::new();
        for number in together {
            joins.spawn(enter(Arc::clone(&bus), join(*number)));
        }
        while let Some(joined) = joins.join_next().await {
            joined??;
        }
    }
    println!("joined");
    loop {
        sleep(Duration::MAX).await;
    }
}

async fn ready(bus: &Bus) {
    while bus.check_redis().and(bus.check_inbox()).and(bus.check_states()).is_err() {
        sleep(Duration::from_millis(20)).await;
    }
}

/// Joins one member; a refusal ends the process. On a busy machine an answer may be late: repeating is harmless.
async fn enter(bus: Arc<Bus>, join: Join) -> Result<(), String> {
    let command = Command::Join(join);
    let mut last = String::new();
    for _ in 0..TRIES {
        match bus.call(&command, TraceContext::default()).await {
            Ok(answer) => return member(&answer),
            Err(fault) => last = fault.to_string(),
        }
    }
    Err(last)
}

fn member(answer: &Answer) -> Result<(), String> {
    let Outcome::Joined(joined) = &*answer.outcome else { return Err("not the answer of a join".to_owned()) };
    match joined.joins.get(answer.index).map(|joined| &joined.result) {
        Some(JoinResult::Member { .. }) => Ok(()),
        other => Err(format!("not a member: {other:?}")),
    }
}
