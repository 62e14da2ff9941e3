//! The gateway: terminates Socket.IO, keeps one session for each socket, turns each event into one request on the bus,
//! relays what rooms say to its own sockets, answers plain heartbeats itself and reports who was alive. It writes nothing
//! to Redis but messages and its own entry in the directory; it cannot name a presence key.
//!
//! - `http`: the listener and what stands on it.
//! - `socket`: sockets, their sessions, what their events do.
//! - `relay`: rooms: events in, sockets out, and the repair of gaps.
//! - `touch`: who was alive. `farewell`: leaves of the disconnected.

mod config;
mod farewell;
mod http;
mod relay;
mod socket;
mod touch;

use std::{
    error::Error,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bus::{Bus, Role};
use service::{Context, Health, Shutdown};
use tokio::time::sleep;

pub use config::Config;

use crate::{
    farewell::Farewells,
    http::{connections::Connections, gate::Gate},
    relay::Relay,
    socket::Gateway,
    touch::Touches,
};

/// How long the leaves of the last sockets may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// Runs the service until `shutdown`.
///
/// # Errors
/// It cannot listen, or the settings of Redis cannot work. A Redis that is away is no error.
pub async fn run(config: Config, context: Context, shutdown: Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = SocketAddr::new(context.host, config.port);
    let listener = service::listen::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let bus = Bus::connect(bus::redis::connect(config.redis)?, Role::Gateway, context.instance.as_str().into());
    let touches = Touches::new(Arc::clone(&bus), config.ttl);
    let relay = Relay::new(Arc::clone(&bus), Arc::clone(&touches));
    let farewells = Farewells::new(Arc::clone(&bus), config.ttl);
    bus.start(relay.clone());
    touches.start();
    relay.start();

    let gateway = Arc::new(Gateway::new(Arc::clone(&bus), relay, touches, Arc::clone(&farewells)));
    gateway.show();
    let health = Health::new(context)
        .part("redis", {
            let bus = Arc::clone(&bus);
            move || bus.check_redis()
        })
        .part("bus", {
            let bus = Arc::clone(&bus);
            move || bus.check_hearing()
        })
        .part("presence-state", {
            let bus = Arc::clone(&bus);
            move || bus.check_states()
        })
        .part("running", {
            let shutdown = shutdown.clone();
            move || shutdown.check()
        });
    let (layer, io) = socket::layer(Arc::clone(&gateway));
    let gate = Gate::new(shutdown.clone());
    let app = http::app(health, layer, Arc::clone(&gate), config.origins, config.proxies);
    let (connections, open) = Connections::new(listener);
    let server = tokio::spawn(async move {
        axum::serve(connections, app.into_make_service_with_connect_info::<http::connections::PeerAddress>()).await
    });

    shutdown.asked().await;
    let begun = Instant::now();
    open.close_over(config.drain).await;
    // Whoever is told by Socket.IO that its session ended does not come back by itself: from here on nobody has a
    // connection, nor gets one.
    gate.shut();
    open.close_all();
    let unsaid = || gateway.sessions.load(Ordering::Acquire) + farewells.open();
    while unsaid() > 0 && begun.elapsed() < config.drain + FAREWELL {
        // Long-polling sessions between two polls. (`SocketIo::close` would end them without a word to their handlers.)
        for socket in io.sockets() {
            let _ = socket.disconnect();
        }
        sleep(Duration::from_millis(10)).await;
    }
    match unsaid() {
        0 => bus.goodbye().await,
        // Without a goodbye the lease runs out and the reaper takes out whoever is left, as of a gateway that died.
        count => tracing::warn!(count, "stopped before all leaves were taken; the reaper will evict the rest"),
    }
    server.abort();
    Ok(())
}
