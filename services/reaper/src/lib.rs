//! The reaper: finds what is gone and asks presence-state to evict it, which checks again. It reads presence and writes
//! none of it; its own are the times in the index at which rooms are due. Any number of reapers share the work by
//! rendezvous hash, and two that do the same thing for a moment do no harm.
//!
//! - `index`: the rooms that are due, and their oldest connection.
//! - `sweep`: connections that outlived their TTL. `lost`: gateways that died.

mod config;
mod index;
mod lost;
mod sweep;

use std::{error::Error, net::SocketAddr, sync::Arc};

use axum::Router;
use bus::{Bus, Listener, Role};
use service::{Context, Health, Shutdown};

pub use config::Config;

/// Nothing is asked of a reaper.
struct Deaf;
impl Listener for Deaf {}

/// Runs the service until `shutdown`.
///
/// # Errors
/// It cannot listen, or the settings of Redis cannot work. A Redis that is away is no error.
pub async fn run(config: Config, context: Context, shutdown: Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = SocketAddr::new(context.host, config.admin_port);
    let listener = service::listen::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let bus = Bus::connect(bus::redis::connect(config.redis)?, Role::Reaper, context.instance.as_str().into());
    bus.start(Arc::new(Deaf));
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
    let app: Router = health.router();
    let pages = tokio::spawn(async move { axum::serve(listener, app).await });
    let sweeps = tokio::spawn(sweep::run(Arc::clone(&bus), config.ttl_ms, config.interval));
    let lost = tokio::spawn(lost::run(Arc::clone(&bus)));
    shutdown.asked().await;
    // What is under way may be cut off anywhere: the next reaper finds the same rooms due.
    sweeps.abort();
    lost.abort();
    bus.goodbye().await;
    pages.abort();
    Ok(())
}

/// Whether this reaper is the one for `key`.
fn is_ours(bus: &Bus, key: &str) -> bool {
    bus.view().serving(Role::Reaper, key) == Some(bus.instance())
}
