//! Converts between messages of services (`rollcall_protocol::command`, `rollcall_protocol::event`) and of clients (`rollcall_protocol::client`). Pure
//! functions. Requests are moved and answers borrow, so no state or value is copied.
//!
//! - `request`: commands from a client's write.
//! - `answer`: acknowledgements from presence-state's answers.
//! - `message`: messages to members from what a script published.

pub(crate) mod answer;
pub(crate) mod message;
pub(crate) mod request;
