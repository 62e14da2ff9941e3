//! Commands whose work panics.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use rollcall_protocol::{Code, Fault, command::Outcome};

use super::{Done, Incoming, log_failure, to_sender};

/// The answers of `work`, which carries out `commands`. If it panics, each of them is answered `INTERNAL` and the process runs
/// on. If it ended instead, gateways would ask the next presence-state, and the same command would end one after the other. A
/// panic leaves nothing half changed: commands change only Redis, by scripts that are atomic.
pub(super) fn catch(commands: &[Incoming], work: impl Future<Output = Done>) -> impl Future<Output = Done> {
    // The panic hook has already written the cause to stderr.
    AssertUnwindSafe(work).catch_unwind().map(|result| result.unwrap_or_else(|_| internal(commands)))
}

fn internal(commands: &[Incoming]) -> Done {
    let fault = Fault::new(Code::Internal, "the command panicked");
    if let Some(first) = commands.first() {
        log_failure(&first.command, &fault);
    }
    let answers = commands.iter().map(|incoming| to_sender(incoming, Outcome::Fault(fault.clone())));
    Done::all(commands, answers.collect())
}
