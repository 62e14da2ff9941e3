//! presence-state: the only writer of presence, metadata and locks. It takes commands from the bus, carries each out as one
//! atomic script in Redis, and answers. It keeps no state of its own, so any instance can run any command. It knows nothing
//! about sockets.
//!
//! The path of a command: `dispatch` → `queue` (rooms take turns) → `batch` (one room's commands in order) → `command` →
//! `presence/<verb>`, `metadata` or `locks` (what the command means) → `store` (the script, with typed results) → `answers`.

mod answers;
mod batch;
mod command;
mod config;
mod dispatch;
mod locks;
pub mod metadata;
mod open;
mod presence;
mod queue;
pub mod store;

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use rollcall_bus::{Bus, Role};
use rollcall_service::{Context, Health, Shutdown, Tasks};

pub use config::Config;

/// How long commands may take to be answered after a shutdown was requested.
const DRAIN: Duration = Duration::from_secs(3);

/// Runs the service until `shutdown`.
///
/// # Errors
/// The address cannot be bound, the Redis settings are invalid, or a permanent task ended. It is not an error if Redis is down.
pub async fn run(config: Config, context: Context, shutdown: Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = SocketAddr::new(context.host, config.admin_port);
    let listener =
        rollcall_service::listen::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let bus = Bus::connect(rollcall_bus::redis::connect(config.redis)?, Role::State, context.instance.as_str().into());
    let tasks = Tasks::default();
    let store = Arc::new(store::Store::new(Arc::clone(&bus), config.metadata_ttl_ms, tasks.spawner()));
    let dispatch = dispatch::Dispatch::start(Arc::clone(&bus), &store, &tasks);
    tasks.spawn_permanent("memory of Redis", store.follow_memory());
    bus.start(dispatch.clone());
    let health = Health::new(context)
        .part("redis", {
            let bus = Arc::clone(&bus);
            move || bus.check_redis()
        })
        .part("bus", {
            let bus = Arc::clone(&bus);
            move || bus.check_inbox()
        })
        .part("running", {
            let shutdown = shutdown.clone();
            move || shutdown.check()
        });
    let app: Router = health.router();
    // The pages are served until the drain ends, so that an operator sees why the service is not ready.
    tasks.spawn_permanent("health pages", async move { drop(axum::serve(listener, app).await) });
    let life = async {
        shutdown.asked().await;
        bus.deregister().await;
        if tokio::time::timeout(DRAIN, dispatch.drained()).await.is_err() {
            tracing::warn!("stopped before all commands were answered; their senders will ask another presence-state");
        }
    };
    tokio::select! {
        () = life => Ok(()),
        failed = bus.failed() => Err(failed.into()),
        failed = tasks.failed() => Err(failed.into()),
    }
}
