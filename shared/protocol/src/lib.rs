//! What is said: between clients and gateway (`client`), between services (`envelope`, `command`), and by a room to
//! its members (`event`). A leaf: it knows neither Redis nor sockets nor telemetry.

pub mod client;
pub mod command;
pub mod envelope;
pub mod event;
pub mod fault;
pub mod ids;
mod json;
mod position;
pub mod state;

pub use fault::{Code, Fault};
pub use ids::{ChannelId, ChannelType, ConnId, InstanceId, ItemKey, LockId, LockName, Partition, RoomId, UserId};
pub use position::Position;
