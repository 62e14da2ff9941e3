//! The reaper: finds records of gateways whose lease has ended, and locks whose time is over, and has presence-state end them,
//! which checks again. It reads presence and writes none of it. Any number of reapers share the partitions by rendezvous hash,
//! and two that do the same thing for a moment do no harm.
//!
//! - `sweep`: the loop. `look`: what there may be to do. `reap`: a partition's work, step by step.
//! - `lost`: which gateways are gone, and what was evicted with them.

mod config;
mod figures;
mod look;
mod lost;
mod reap;
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
    let sweeps = tokio::spawn(sweep::run(Arc::clone(&bus), config.interval));
    shutdown.asked().await;
    // What is under way may be cut off anywhere: the next reaper finds the same work.
    sweeps.abort();
    bus.goodbye().await;
    pages.abort();
    Ok(())
}
