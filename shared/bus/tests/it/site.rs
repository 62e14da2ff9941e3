//! A Redis for one test, instances that use it, and a client for inspecting and changing it.

use std::sync::Arc;

use fred::{
    clients::Client,
    error::ErrorKind,
    interfaces::{ClientLike as _, PubsubInterface as _},
    types::{ClusterHash, CustomCommand, Value},
};
use rollcall_bus::{Answer, Role, Subjects, choose, redis};
use rollcall_protocol::{
    Fault, RoomId,
    command::{Command, Outcome, SnapshotQuery},
};
use rollcall_telemetry::propagation::TraceContext;
use rollcall_testkit::{Redis, until};

use crate::instance::{Instance, Manner};

/// See the module.
pub(crate) struct Site {
    pub(crate) redis: Client,
    pub(crate) subjects: Subjects,
    pub(crate) gateway: Instance,
    pub(crate) server: Redis,
}

impl Site {
    /// A Redis and a gateway.
    pub(crate) async fn open() -> Self {
        let server = Redis::start();
        let redis::Redis { commands: redis, subjects, .. } =
            redis::connect(redis::Config::from_url(&server.url()).unwrap()).unwrap();
        redis.wait_for_connect().await.unwrap();
        let gateway = Instance::start(&server.url(), Role::Gateway, "presence-gateway-0000000a", Manner::Ignores);
        until("the gateway is ready", async || gateway.is_ready().then_some(())).await;
        Self { redis, subjects, gateway, server }
    }

    /// Another instance, ready and known to the gateway.
    pub(crate) async fn start(&self, role: Role, name: &str, manner: Manner) -> Instance {
        let instance = self.start_unknown(role, name, manner).await;
        let known = || self.gateway.bus.view().peers(role).contains(instance.name());
        until("the instance is known", async || known().then_some(())).await;
        instance
    }

    /// Another instance, ready, whether the gateway has noticed or not.
    pub(crate) async fn start_unknown(&self, role: Role, name: &str, manner: Manner) -> Instance {
        let instance = Instance::start(&self.server.url(), role, name, manner);
        until("the instance is ready", async || instance.is_ready().then_some(())).await;
        instance
    }

    /// Calls presence-state from the gateway about a room.
    pub(crate) async fn call(&self, room: &str) -> Result<Answer, Fault> {
        self.call_traced(room, TraceContext::default()).await
    }

    pub(crate) async fn call_traced(&self, room: &str, trace: TraceContext) -> Result<Answer, Fault> {
        let query = SnapshotQuery { room: room.into(), known: None };
        self.gateway.bus.call(&Command::Snapshot(query), trace).await
    }

    /// A room that this one of `among` serves.
    pub(crate) fn room_of(&self, served_by: &Instance, among: &[&Instance]) -> String {
        let names: Vec<_> = among.iter().map(|instance| instance.name().clone()).collect();
        let mut rooms = (0..).map(|n| format!("room {n}"));
        let partition = |room: &str| RoomId::from(room).partition().to_string();
        rooms.find(|room| choose(&partition(room), &names) == Some(served_by.name())).unwrap()
    }

    /// Ends an instance; Redis has noticed when this returns.
    pub(crate) async fn kill(&self, instance: Instance) {
        let inbox = self.subjects.inbox(instance.name());
        drop(instance);
        until("Redis has noticed", async || (self.subscribers(&inbox).await == 0).then_some(())).await;
    }

    /// Runs any command at the server. That it is not answered in time is no failure.
    pub(crate) async fn custom(&self, command: &'static str, args: &[&str]) {
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        let answer = self.redis.custom::<Value, _>(command, args.to_vec()).await;
        assert!(!matches!(&answer, Err(error) if *error.kind() != ErrorKind::Timeout), "{answer:?}");
    }

    /// How many are subscribed to a channel.
    pub(crate) async fn subscribers(&self, channel: &str) -> u64 {
        let (_, subscribers): (String, u64) = self.redis.pubsub_shardnumsub(channel).await.unwrap();
        subscribers
    }
}

/// Who answered, when the instance answers with its name.
pub(crate) fn answered_by(answer: &Answer) -> &str {
    names(&answer.outcome)[0]
}

pub(crate) fn names(outcome: &Arc<Outcome>) -> Vec<&str> {
    match &**outcome {
        Outcome::Audited { differing, .. } => differing.iter().map(|name| name.as_str()).collect(),
        other => panic!("{other:?}"),
    }
}
