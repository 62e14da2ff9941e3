//! What all three services share: reading configuration, listening, health pages, owning tasks, process metrics, shutdown.
//! This crate knows nothing about presence.

mod bootstrap;
pub mod health;
pub mod listen;
mod probe;
mod process_metrics;
pub mod settings;
mod shutdown;
mod tasks;

pub use bootstrap::{Context, Program, main};
pub use health::Health;
pub use settings::Reader;
pub use shutdown::Shutdown;
pub use tasks::{Spawner, TaskFailed, Tasks};
