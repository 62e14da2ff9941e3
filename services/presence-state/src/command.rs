//! Every command and the function that carries it out. Nothing here knows of queues or messages.

use std::sync::Arc;

use rollcall_protocol::{
    Code, Fault,
    command::{Command, Outcome},
};
use rollcall_telemetry::propagation::TraceContext;

use crate::{
    locks, metadata, presence,
    store::{Caller, Store},
};

/// Carries out one command by itself.
pub(crate) async fn carry_out(store: &Arc<Store>, caller: Caller<'_>, command: &Command) -> Result<Outcome, Fault> {
    let Caller { span, deadline_ms } = caller;
    match command {
        Command::Join(one) => {
            let joined = presence::join(store, caller, &[(one, TraceContext::of(span))]).await?;
            presence::record_join(span, &joined, 0);
            Ok(Outcome::Joined(joined))
        }
        Command::Heartbeat(beat) => {
            let mut outcomes = presence::heartbeats(store, deadline_ms, &[(beat, span)]).await?;
            outcomes.pop().map_or_else(unanswered, Ok)
        }
        Command::Leave(one) => presence::leave(store, caller, one).await,
        Command::Restore(one) => presence::restore(store, caller, one).await,
        Command::Audit(one) => presence::audit(store, caller, one).await,
        Command::Snapshot(query) => presence::snapshot(store, span, query).await,
        Command::Reap(one) => presence::reap(store, caller, one).await,
        Command::Metadata(asked) => {
            metadata::carry_out(store, deadline_ms, &[(asked, span)]).await.pop().unwrap_or_else(unanswered)
        }
        Command::Lock(asked) => locks::carry_out(store, caller, asked).await,
        // Boxed: the largest future, and a rare command.
        Command::Catchup(asked) => Box::pin(metadata::catch_up(store, caller, asked)).await,
    }
}

fn unanswered() -> Result<Outcome, Fault> {
    Err(Fault::new(Code::Internal, "the command was not answered"))
}
