//! What the Rust tests of several crates share: a Redis of their own, and waiting that ends. It knows nothing of Rollcall,
//! and no crate has it but as a dev-dependency.

mod redis;
mod until;

pub use redis::Redis;
pub use until::{WITHIN, until};
