//! The store and its scripts against a real Redis: what each function answers, writes and publishes. Nothing here knows
//! the bus' messages.

#![allow(clippy::unwrap_used, reason = "what a test does not expect may end it")]

mod cases;
mod clock;
mod events;
mod evict;
mod full;
mod heartbeat;
mod index;
mod join;
mod json;
mod leave;
mod lines;
mod locks;
mod metadata;
mod names;
mod partition;
mod property;
mod refusals;
mod restore;
mod scripts;
mod site;
mod snapshot;
