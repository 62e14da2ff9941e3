//! The messages of Rollcall. A leaf crate: it knows neither Redis nor sockets nor telemetry.
//!
//! - `client`: what clients send and are sent.
//! - `command`, `event`, `envelope`: what services send each other, and what scripts publish.
//! - `ids`, `position`, `state`, `info`, `fault`, `json`, `limits`: what both sides share.
//!
//! `client` and the services' messages do not know each other (`./dev lint` checks it): either may change its format without
//! the other. The gateway translates between them.

pub mod client;
pub mod command;
pub mod envelope;
pub mod event;
pub mod fault;
pub mod ids;
mod info;
mod json;
pub mod limits;
mod position;
pub mod state;

pub use fault::{Code, Fault};
pub use ids::{ChannelId, ChannelType, ConnId, InstanceId, ItemKey, LockId, LockName, Partition, RoomId, UserId};
pub use info::Info;
pub use position::Position;
