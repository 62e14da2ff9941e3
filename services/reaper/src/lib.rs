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
use service::{Context, Health, Shutdown, Tasks};

pub use config::Config;

/// Nothing is asked of a reaper.
struct NullListener;
impl Listener for NullListener {}

/// Runs the service until `shutdown`.
///
/// # Errors
/// It cannot listen, the settings of Redis cannot work, or a task that it needs has ended. A Redis that is away is no error.
pub async fn run(config: Config, context: Context, shutdown: Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = SocketAddr::new(context.host, config.admin_port);
    let listener = service::listen::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let bus = Bus::connect(bus::redis::connect(config.redis)?, Role::Reaper, context.instance.as_str().into());
    bus.start(Arc::new(NullListener));
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
    let app: Router = health.router();
    let tasks = Tasks::default();
    tasks.spawn_permanent("health pages", async move { drop(axum::serve(listener, app).await) });
    // Its own: it ends before the rest. What is under way may be cut off anywhere: the next reaper finds the same work.
    let sweeps = Tasks::default();
    sweeps.spawn_permanent("sweeps", sweep::run(Arc::clone(&bus), config.interval));
    tokio::select! {
        () = shutdown.asked() => {}
        failed = bus.failed() => return Err(failed.into()),
        failed = tasks.failed() => return Err(failed.into()),
        failed = sweeps.failed() => return Err(failed.into()),
    }
    drop(sweeps);
    bus.deregister().await;
    Ok(())
}
