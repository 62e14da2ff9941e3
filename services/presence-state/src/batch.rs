//! One batch: commands ordered by room, joins that can be made together put together, answers addressed.

use std::{collections::HashMap, sync::Arc};

use protocol::{
    Code, Fault, RoomId,
    command::{Command, Join, Outcome},
    envelope::wall_clock_ms,
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use crate::{presence, store::Store};

/// Joins that one script call makes at most; a script blocks Redis while it runs.
const JOINS: usize = 128;

/// A command that waits.
pub(crate) struct Incoming {
    pub(crate) id: u64,
    pub(crate) reply_to: Arc<str>,
    pub(crate) deadline_ms: u64,
    pub(crate) command: Command,
    pub(crate) trace: TraceContext,
}

/// To whom, for which requests, what.
pub(crate) type Addressed = (Arc<str>, Vec<u64>, Arc<Outcome>);

/// Splits a batch by room; within a room the order stays. A touch stands alone.
pub(crate) fn by_room(batch: impl Iterator<Item = Incoming>) -> Vec<Vec<Incoming>> {
    let mut rooms: Vec<Vec<Incoming>> = Vec::new();
    let mut places: HashMap<RoomId, usize> = HashMap::new();
    for incoming in batch {
        match incoming.command.room().cloned() {
            Some(room) => {
                let place = *places.entry(room).or_insert_with(|| {
                    rooms.push(Vec::new());
                    rooms.len() - 1
                });
                rooms[place].push(incoming);
            }
            None => rooms.push(vec![incoming]),
        }
    }
    rooms
}

/// Carries out one room's commands in order.
pub(crate) async fn carry_out(store: &Arc<Store>, commands: Vec<Incoming>) -> Vec<Addressed> {
    let mut answers = Vec::with_capacity(commands.len());
    let mut rest = commands.as_slice();
    while let Some((first, others)) = rest.split_first() {
        if first.deadline_ms < wall_clock_ms() {
            // Its sender has given up; to carry it out now could surprise whoever came after.
            rest = others;
            continue;
        }
        let together = rest.iter().take(JOINS).take_while(|one| shared_join(one).is_some()).count();
        let (now, later) = rest.split_at(together.max(1));
        rest = later;
        if together > 1 {
            joins(store, now, &mut answers).await;
        } else {
            let span = span(first);
            let outcome = presence::carry_out(store, &span, &first.command).await;
            let outcome = outcome.unwrap_or_else(|fault| failed(&span, fault));
            answers.push((Arc::clone(&first.reply_to), vec![first.id], Arc::new(outcome)));
        }
    }
    answers
}

fn shared_join(incoming: &Incoming) -> Option<&Join> {
    match &incoming.command {
        Command::Join(join) if presence::shares(join) => Some(join),
        _ => None,
    }
}

async fn joins(store: &Arc<Store>, batch: &[Incoming], answers: &mut Vec<Addressed>) {
    let spans: Vec<Span> = batch.iter().map(span).collect();
    let joins: Vec<(&Join, TraceContext)> = batch
        .iter()
        .zip(&spans)
        .filter_map(|(incoming, span)| Some((shared_join(incoming)?, TraceContext::of(span))))
        .collect();
    // The script call belongs to the first traced join; the others are linked to it by their own spans.
    let first = spans.iter().find(|span| !span.is_disabled()).cloned().unwrap_or_else(Span::none);
    let outcome = match presence::join(store, &first, &joins).await {
        Ok(joined) => {
            spans.iter().enumerate().for_each(|(index, span)| presence::tell(span, &joined, index));
            Outcome::Joined(joined)
        }
        Err(fault) => {
            for span in &spans {
                telemetry::span::fail(span, fault.code.as_str(), &fault.message);
            }
            Outcome::Fault(fault)
        }
    };
    let outcome = Arc::new(outcome);
    let mut senders: Vec<&Arc<str>> = batch.iter().map(|incoming| &incoming.reply_to).collect();
    senders.sort_unstable();
    senders.dedup();
    for sender in senders {
        // Each request stands at the place of its join; 0 keeps the places of other gateways' joins.
        let ids = batch.iter().map(|one| if one.reply_to == *sender { one.id } else { 0 }).collect();
        answers.push((Arc::clone(sender), ids, Arc::clone(&outcome)));
    }
}

fn span(incoming: &Incoming) -> Span {
    if incoming.trace.is_empty() {
        return Span::none();
    }
    let span = telemetry::span::presence(incoming.command.verb());
    incoming.trace.adopt(&span);
    if let Command::Join(join) = &incoming.command {
        span.record("presence.room_id", join.room.as_str())
            .record("presence.user_id", join.user.as_str())
            .record("presence.conn_id", join.conn.as_str());
    }
    span
}

fn failed(span: &Span, fault: Fault) -> Outcome {
    if fault.code == Code::Internal {
        tracing::error!(error = %fault, "a command failed");
    }
    telemetry::span::fail(span, fault.code.as_str(), &fault.message);
    Outcome::Fault(fault)
}
