//! Every command and what carries it out. It knows nothing of queues and messages.

use std::sync::Arc;

use protocol::{
    Code, Fault,
    command::{Command, Outcome},
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use crate::{locks, metadata, presence, store::Store};

/// Carries out one command by itself.
pub(crate) async fn carry_out(store: &Arc<Store>, span: &Span, command: &Command) -> Result<Outcome, Fault> {
    let trace = TraceContext::of(span);
    match command {
        Command::Join(one) => {
            let joined = presence::join(store, span, &[(one, trace)]).await?;
            presence::tell(span, &joined, 0);
            Ok(Outcome::Joined(joined))
        }
        Command::Heartbeat(beat) => {
            let mut outcomes = presence::heartbeats(store, &[(beat, span)]).await?;
            outcomes.pop().map_or_else(unanswered, Ok)
        }
        Command::Leave(one) => presence::leave(store, span, one, &trace).await,
        Command::Touch(one) => presence::touch(store, span, one).await,
        Command::Snapshot(query) => presence::snapshot(store, span, query).await,
        Command::Reap(one) => presence::reap(store, span, one, &trace).await,
        Command::EvictNode(one) => presence::evict_node(store, span, one, &trace).await,
        Command::Metadata(asked) => metadata::carry_out(store, &[(asked, span)]).await.pop().unwrap_or_else(unanswered),
        Command::Lock(asked) => locks::carry_out(store, span, asked, &trace).await,
        Command::Catchup(asked) => metadata::catch_up(store, span, asked).await,
    }
}

fn unanswered() -> Result<Outcome, Fault> {
    Err(Fault::new(Code::Internal, "the command was not answered"))
}
