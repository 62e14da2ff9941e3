//! What becomes of commands whose work panics.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use protocol::{Code, Fault, command::Outcome};

use super::{Addressed, Incoming, tell, to_sender};

/// The answers of `work`, which carries out `commands`. If it panics, each of them is answered `INTERNAL`. The process goes
/// on: if it ended, gateways would ask the next instance, and the same command would end one after the other. What a command
/// changes is in Redis, by scripts that run whole or not at all; nothing here can be left half changed.
pub(super) fn answered(
    commands: &[Incoming],
    work: impl Future<Output = Vec<Addressed>>,
) -> impl Future<Output = Vec<Addressed>> {
    // What went wrong is on stderr already: the panic hook wrote it.
    AssertUnwindSafe(work).catch_unwind().map(|result| result.unwrap_or_else(|_| internal(commands)))
}

fn internal(commands: &[Incoming]) -> Vec<Addressed> {
    let fault = Fault::new(Code::Internal, "the command panicked");
    if let Some(first) = commands.first() {
        tell(&first.command, &fault);
    }
    commands.iter().map(|incoming| to_sender(incoming, Outcome::Fault(fault.clone()))).collect()
}
