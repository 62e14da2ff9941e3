//! The bus with a real Redis between real instances: calls and their answers, deaths, subscriptions that break, the
//! directory. Nothing here knows presence.

#![allow(clippy::unwrap_used, reason = "what a test does not expect may end it")]

mod calls;
mod cluster;
mod deadlines;
mod deaths;
mod directory;
mod faults;
mod gaps;
mod instance;
mod moved_name;
mod resharding;
mod revocations;
mod servers;
mod site;
mod subscriptions;
mod tasks;
mod wire;
