//! The gateway: terminates Socket.IO, keeps one session for each socket, turns each event into one request on the bus,
//! relays what rooms say to its own sockets, and answers plain heartbeats itself. It writes nothing to Redis but messages and
//! its own entry in the directory; it cannot name a presence key. As long as its lease lives, it is responsible for its
//! members: for their leaves, and for their records if Redis loses them.
//!
//! - `http`: the listener and what stands on it.
//! - `socket`: sockets, their sessions, what their events do.
//! - `relay`: rooms: events in, sockets out, and the repair of gaps. `listener`: what comes from the bus.
//! - `translate`: between what services send each other and what clients send and are sent.
//! - `liveness`: clients that fell silent. `pending`: leaves and releases that are sent until they are carried out.
//! - `due_queue`: work that is due at a time.
//! - `reassert`: what Redis lost is restored, and compared now and then. `backoff`: how long to wait for another try.

mod backoff;
mod config;
mod due_queue;
mod http;
mod listener;
mod liveness;
mod pending;
mod reassert;
mod relay;
mod socket;
#[cfg(test)]
mod tests;
mod translate;

use std::{
    error::Error,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{Bus, Role};
use service::{Context, Health, Shutdown, Tasks};
use tokio::time::sleep;

pub use config::{Config, Pings};
pub use liveness::Mode;

use crate::{
    http::{
        connections::{Connections, Peer},
        gate::Gate,
        transports::Transports,
    },
    listener::GatewayListener,
    liveness::Liveness,
    pending::Pending,
    reassert::Reassert,
    relay::Relay,
    socket::client::Gateway,
};

/// How long the leaves of the last sockets may take.
const LAST_LEAVES: Duration = Duration::from_secs(3);

/// Runs the service until `shutdown`.
///
/// # Errors
/// It cannot listen, the settings of Redis cannot work, or a task that it needs has ended. A Redis that is away is no error.
pub async fn run(config: Config, context: Context, shutdown: Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = SocketAddr::new(context.host, config.port);
    let listener = service::listen::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let bus = Bus::connect(bus::redis::connect(config.redis)?, Role::Gateway, context.instance.as_str().into());
    let pending = Pending::new(Arc::clone(&bus));
    let reassert = Reassert::new(Arc::clone(&bus), Arc::clone(&pending));
    let relay = Relay::new(Arc::clone(&bus), Arc::clone(&reassert));
    let liveness = Liveness::new(config.liveness);
    bus.start(Arc::new(GatewayListener {
        bus: Arc::clone(&bus),
        relay: Arc::clone(&relay),
        reassert: Arc::clone(&reassert),
        pending: Arc::clone(&pending),
    }));
    let tasks = Tasks::default();
    pending.start(&tasks);
    reassert.start(relay.own(), &tasks);
    relay.start(&tasks);
    liveness.start(&tasks);

    let (connections, open) = Connections::new(listener);
    let transports = Transports::new(Arc::clone(&open));
    let gateway = Arc::new(Gateway::new(
        Arc::clone(&bus),
        relay,
        reassert,
        liveness,
        Arc::clone(&pending),
        Arc::clone(&transports),
    ));
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
        .part("running", {
            let shutdown = shutdown.clone();
            move || shutdown.check()
        });
    let (layer, io) = socket::layer(Arc::clone(&gateway), config.pings);
    let gate = Gate::new(shutdown.clone());
    let app = http::app(health, layer, Arc::clone(&gate), transports, config.origins, config.proxies);
    tasks.spawn_permanent("listener", async move {
        drop(axum::serve(connections, app.into_make_service_with_connect_info::<Peer>()).await);
    });

    tokio::select! {
        () = shutdown.asked() => {}
        failed = bus.failed() => return Err(failed.into()),
        failed = tasks.failed() => return Err(failed.into()),
    }
    let begun = Instant::now();
    open.close_over(config.drain).await;
    // A client that is told by Socket.IO that its session ended does not come back by itself: from here on no one has a
    // connection, or gets one.
    gate.shut();
    open.close_all();
    let unsaid = || gateway.sessions() + pending.open();
    while unsaid() > 0 && begun.elapsed() < config.drain + LAST_LEAVES {
        // Long-polling sessions between two polls. (`SocketIo::close` would end them without a word to their handlers.)
        for socket in io.sockets() {
            let _ = socket.disconnect();
        }
        sleep(Duration::from_millis(10)).await;
    }
    match unsaid() {
        0 => bus.deregister().await,
        // The lease runs out and the reaper evicts the rest, as those of a gateway that died.
        count => tracing::warn!(count, "stopped before all leaves were taken; the reaper will evict the rest"),
    }
    Ok(())
}
