//! Shared by the Rust tests of several crates: a Redis for one test, and bounded waiting. Knows nothing of Rollcall; used as a
//! dev-dependency only.

mod redis;
mod until;

pub use redis::Redis;
pub use until::{WITHIN, until};
