//! The gateway: terminates Socket.IO, keeps one session per socket, turns each event into one request on the bus, relays room
//! events to its own sockets, and answers plain heartbeats itself. In Redis it writes only messages and its own lease; it has
//! no presence key names. While it holds its lease, it is responsible for its members: it sends their leaves, and restores
//! their records if Redis loses them.
//!
//! - `auth`: who a client is and what it may do.
//! - `http`: the listener and its routes and middleware.
//! - `socket`: sockets, their sessions, what their events do.
//! - `relay`: rooms: delivers events to sockets and repairs gaps. `listener`: receives from the bus.
//! - `translate`: converts between internal messages and those of clients.
//! - `liveness`: silent clients. `pending`: leaves and lock releases that are sent until they are carried out.
//! - `flow`: what one socket may send, and the bytes that wait for it and for all.
//! - `due_queue`: work that is due at a time. `backoff`: waits between retries. `count`: counters made of guards.
//! - `reassert`: restores what Redis lost, and audits it once a minute. `stop`: closes sockets when the gateway stops.
//! - `revoke`: a command for operators, apart from the service.

mod auth;
mod backoff;
mod config;
mod count;
mod due_queue;
mod flow;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod listener;
mod liveness;
mod pending;
mod reassert;
mod relay;
pub mod revoke;
mod socket;
mod stop;
#[cfg(test)]
mod tests;
mod translate;

use std::{error::Error, net::SocketAddr, sync::Arc};

use rollcall_bus::{Bus, Role};
use rollcall_service::{Context, Health, Shutdown, Tasks};

pub use config::{Config, Pings};
pub use liveness::Mode;

use crate::{
    auth::Auth,
    flow::backlog::Backlog,
    http::{
        Checks,
        gate::Gate,
        overflow::Overflow,
        playground::Page,
        server::{self, Server},
        sessions::Sessions,
        transports::Transports,
    },
    listener::GatewayListener,
    liveness::Liveness,
    pending::Pending,
    reassert::Reassert,
    relay::Relay,
    socket::client::{Gateway, Parts},
    stop::Stop,
};

/// Runs the service until `shutdown`.
///
/// # Errors
/// The address cannot be bound, the Redis settings are invalid, or a permanent task ended. It is not an error if Redis is down.
pub async fn run(config: Config, context: Context, shutdown: Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = SocketAddr::new(context.host, config.port);
    let listener =
        rollcall_service::listen::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let bus =
        Bus::connect(rollcall_bus::redis::connect(config.redis)?, Role::Gateway, context.instance.as_str().into());
    let pending = Pending::new(Arc::clone(&bus));
    let reassert = Reassert::new(Arc::clone(&bus), Arc::clone(&pending));
    let backlog = Backlog::new(config.budgets.outward_bytes);
    let relay = Relay::new(Arc::clone(&bus), Arc::clone(&reassert), Arc::clone(&backlog));
    let liveness = Liveness::new(config.liveness);
    bus.start(Arc::new(GatewayListener {
        bus: Arc::clone(&bus),
        relay: Arc::clone(&relay),
        reassert: Arc::clone(&reassert),
        pending: Arc::clone(&pending),
    }));
    let tasks = Tasks::default();
    let page = config.playground.map(|traces| Page::new(&config.auth, config.liveness, config.path.clone(), traces));
    let auth = Auth::start(config.auth, &bus, &tasks);
    pending.start(&tasks);
    reassert.start(relay.own(), &tasks);
    relay.register_metrics();
    relay.start(&tasks);
    liveness.start(&tasks);

    let open = server::connections(config.limits);
    backlog.start(&tasks);
    let transports = Transports::new(Arc::clone(&open), backlog);
    let sessions = Sessions::new(config.limits, Arc::clone(&transports));
    sessions.start(&tasks);
    let parts = Parts {
        bus: Arc::clone(&bus),
        relay,
        reassert,
        liveness,
        pending: Arc::clone(&pending),
        transports: Arc::clone(&transports),
        auth,
    };
    let gateway = Arc::new(Gateway::new(parts, &config.budgets));
    gateway.register_metrics();
    let health = Health::new(context)
        .part("redis", {
            let bus = Arc::clone(&bus);
            move || bus.check_redis()
        })
        .part("bus", {
            let bus = Arc::clone(&bus);
            move || bus.check_inbox()
        })
        .part("presence-state", {
            let bus = Arc::clone(&bus);
            move || bus.check_states()
        })
        .part("tokens", {
            let gateway = Arc::clone(&gateway);
            move || gateway.check_tokens()
        })
        .part("running", {
            let shutdown = shutdown.clone();
            move || shutdown.check()
        });
    let (layer, io) = socket::layer(Arc::clone(&gateway), config.pings);
    let gate = Gate::new(shutdown.clone());
    let health = health.router();
    let overflow = Overflow::new(health.clone());
    let (path, origins, proxies) = (config.path, config.origins, config.proxies.clone());
    let checks = Checks { gate: Arc::clone(&gate), path, proxies, origins, sessions, transports };
    let app = http::app(health, page.as_ref(), layer, checks);
    let (proxies, silent) = (config.proxies, config.pings.silent());
    let server = Server { listener, open: Arc::clone(&open), app, overflow, proxies, silent };
    tasks.spawn_permanent("listener", server.run());

    let stop = Stop { bus: Arc::clone(&bus), open, gate, io, gateway, pending, drain: config.drain };
    let life = async {
        shutdown.asked().await;
        stop.carry_out().await;
    };
    tokio::select! {
        () = life => Ok(()),
        failed = bus.failed() => Err(failed.into()),
        failed = tasks.failed() => Err(failed.into()),
    }
}
