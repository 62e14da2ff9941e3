//! A session ends although its operation panics, and a lock's timer ends with the lock.

use std::sync::{Arc, Weak};

use rollcall_bus::{Bus, Listener, Role, redis};
use rollcall_protocol::{ChannelId, LockId, command::lock::Held};
use rollcall_telemetry::propagation::TraceContext;
use rollcall_testkit::{Redis, until};
use socketioxide::socket::Sid;
use tracing::Span;

use super::{
    client::{Client, Gateway, Parts},
    op::Op,
    outlet::Outlet,
    verbs,
};
use crate::{
    auth::{Auth, Outsiders, access::Access},
    flow::{Limits, backlog::Backlog, budgets::Budgets, rate::Quota},
    http::transports::Transports,
    liveness::{Liveness, Mode},
    pending::Pending,
    reassert::Reassert,
    relay::Relay,
};

const UNLIMITED: Quota = Quota::new(0, 1);
const BUDGETS: Budgets =
    Budgets { socket: Limits { events: UNLIMITED, bytes: UNLIMITED }, channel_writes: UNLIMITED, outward_bytes: 0 };

struct Nothing;
impl Listener for Nothing {}

fn gateway(server: &Redis) -> Arc<Gateway> {
    let redis = redis::connect(redis::Config::from_url(&server.url()).unwrap()).unwrap();
    let bus = Bus::connect(redis, Role::Gateway, "presence-gateway-0000000a".into());
    bus.start(Arc::new(Nothing));
    let pending = Pending::new(Arc::clone(&bus));
    let reassert = Reassert::new(Arc::clone(&bus), Arc::clone(&pending));
    let backlog = Backlog::new(0);
    let relay = Relay::new(Arc::clone(&bus), Arc::clone(&reassert), Arc::clone(&backlog));
    let transports = Transports::new(Arc::default(), backlog);
    let liveness = Liveness::new(Mode::Transport);
    let parts = Parts { bus, relay, reassert, liveness, pending, transports, auth: Auth::Off(Outsiders::Allow) };
    Arc::new(Gateway::new(parts, &BUDGETS))
}

/// A client whose socket is gone.
fn client(gateway: &Arc<Gateway>) -> Arc<Client> {
    let flow = gateway.transports.flow(&http::Extensions::new());
    let outlet = Outlet::new("c1".into(), Weak::new(), Sid::new(), Arc::clone(&gateway.transports), flow);
    Client::new(gateway, "c1".into(), outlet, Access::new(None), TraceContext::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_session_ends_although_an_operation_of_it_panicked() {
    let server = Redis::start();
    let gateway = gateway(&server);
    let client = client(&gateway);
    client.push(Op::Panic);
    until("its client is closed", async || (!client.outlet.is_open()).then_some(())).await;
    until("the session is idle", async || client.session.is_idle().then_some(())).await;
    assert_eq!(gateway.sessions(), 1);
    client.push(Op::Panic);
    client.closed("websocket", "transport_close");
    until("the session has ended", async || (gateway.sessions() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_timer_of_a_lock_ends_with_the_lock() {
    let server = Redis::start();
    let gateway = gateway(&server);
    until("Redis is there", async || gateway.bus.check_inbox().ok()).await;
    let client = client(&gateway);
    let lock = LockId { channel: ChannelId { name: "room".into(), kind: "T".into() }, name: "pen".into() };
    let hold = async |fence: u64, ttl_ms: u64| {
        let expires_at_ms = gateway.bus.redis_now_ms() + ttl_ms;
        let held = Held { lock: lock.clone(), owner: "ann".into(), conn: "c1".into(), fence, expires_at_ms };
        let subscription = gateway.relay.listen(&lock.channel.name, &Span::none()).await.unwrap();
        verbs::hold(&client, held, subscription);
    };
    // Every timer has one weak reference to its client.
    let timers = async |count: usize| until("timers", async || (Arc::weak_count(&client) == count).then_some(())).await;
    hold(1, 3_600_000).await;
    hold(2, 3_600_000).await;
    timers(1).await;
    assert!(client.session.locks(|locks| locks.release(&lock, 1)).is_none(), "another fence");
    assert_eq!(gateway.held.get(), 1);
    drop(client.session.locks(|locks| locks.release(&lock, 2)));
    assert_eq!(gateway.held.get(), 0);
    timers(0).await;
    hold(3, 50).await;
    until("it expires", async || (gateway.held.get() == 0).then_some(())).await;
    assert_eq!(gateway.pending.open(), 1, "the expiry is sent, so that the next waiter gets the lock");
    timers(0).await;
}
