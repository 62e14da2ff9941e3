//! One request for a lock.

use rollcall_protocol::{
    Code, Fault,
    command::{
        Command, Outcome,
        lock::{Lock, Locked},
    },
};
use rollcall_telemetry::propagation::TraceContext;
use tracing::Span;

use crate::socket::client::Client;

pub(super) async fn call(client: &Client, lock: Lock, span: &Span) -> Result<Locked, Fault> {
    let reply = client.gateway.bus.call(&Command::Lock(lock), TraceContext::of(span)).await?;
    match &*reply.outcome {
        Outcome::Lock(locked) => Ok(locked.clone()),
        _ => Err(Fault::unexpected()),
    }
}

pub(super) fn rejection(outcome: Result<Locked, Fault>) -> Fault {
    match outcome {
        Err(fault) => fault,
        Ok(Locked::Lost) => Fault::new(Code::LockLost, "this socket does not hold the lock under that fence"),
        Ok(Locked::Full) => Fault::new(Code::Overloaded, "too many locks, or too many who wait, in this channel"),
        Ok(_) => Fault::unexpected(),
    }
}
