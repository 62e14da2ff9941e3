//! The reaper: finds records of gateways whose lease has ended, and locks whose time is over. It sends commands to presence-state,
//! which checks again and ends them. The reaper reads presence and writes none. Any number of reapers share the partitions by
//! rendezvous hash; two that briefly do the same work are harmless.
//!
//! - `sweep`: the loop. `look`: finds work. `reap`: does a partition's work, step by step.
//! - `lost`: which gateways are gone, and what was evicted with them. `gauges`: what metrics read.

mod config;
mod gauges;
mod look;
mod lost;
mod reap;
mod sweep;

use std::{error::Error, net::SocketAddr, sync::Arc};

use axum::Router;
use rollcall_bus::{Bus, Listener, Role};
use rollcall_service::{Context, Health, Shutdown, Tasks};

pub use config::Config;

/// A reaper receives no requests.
struct NullListener;
impl Listener for NullListener {}

/// Runs the service until `shutdown`.
///
/// # Errors
/// It cannot listen, the Redis configuration cannot work, or a permanent task has ended. An unreachable Redis is no error.
pub async fn run(config: Config, context: Context, shutdown: Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = SocketAddr::new(context.host, config.admin_port);
    let listener =
        rollcall_service::listen::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let bus = Bus::connect(rollcall_bus::redis::connect(config.redis)?, Role::Reaper, context.instance.as_str().into());
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
    // A separate owner, because sweeps end first. They may be cut off anywhere: the next reaper finds the same work.
    let sweeps = Tasks::default();
    sweeps.spawn_permanent("sweeps", sweep::run(Arc::clone(&bus), config.interval));
    let life = async {
        shutdown.asked().await;
        sweeps.end().await;
        bus.deregister().await;
    };
    tokio::select! {
        () = life => Ok(()),
        failed = bus.failed() => Err(failed.into()),
        failed = tasks.failed() => Err(failed.into()),
        failed = sweeps.failed() => Err(failed.into()),
    }
}
