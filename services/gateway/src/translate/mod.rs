//! Translates between what services send each other (`protocol::command`, `protocol::event`) and what clients send and are sent
//! (`protocol::client`). Pure functions. A client's request is moved, and what a client is sent borrows: no state or value is
//! copied.
//!
//! - `request`: a client's write as the bus carries it.
//! - `answer`: acknowledgements from what presence-state answered.
//! - `message`: what members are sent from what a script published.

pub(crate) mod answer;
pub(crate) mod message;
pub(crate) mod request;
