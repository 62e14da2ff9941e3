//! The store and its scripts against a real Redis: what each function answers, writes and publishes. Nothing here knows
//! the bus' messages.

mod events;
mod evict;
mod expiry;
mod heartbeat;
mod index;
mod join;
mod json;
mod leave;
mod names;
mod property;
mod restore;
mod site;
mod snapshot;
mod touch;
