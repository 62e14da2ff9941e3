//! Shared by the Rust tests of several crates: a Redis or a cluster for one test, and bounded waiting. Knows nothing of Rollcall; used as a
//! dev-dependency only.

mod cluster;
mod redis;
mod until;

pub use cluster::Cluster;
pub use redis::Redis;
pub use until::{WITHIN, until};
