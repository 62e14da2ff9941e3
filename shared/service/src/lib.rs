//! What all three services do alike: read their configuration, listen, show their health, end when told to. It
//! knows nothing of what a service is for.

mod bootstrap;
pub mod health;
pub mod listen;
mod probe;
pub mod settings;
mod shutdown;
mod tasks;
mod vitals;

pub use bootstrap::{Context, Program, main};
pub use health::Health;
pub use settings::Reader;
pub use shutdown::Shutdown;
pub use tasks::{Spawner, TaskFailed, Tasks};
