//! Script calls that several rooms share: heartbeats, or metadata commands, of rooms of one slot.

use std::{collections::HashMap, sync::Arc};

use protocol::{Code, command::Command, envelope::wall_clock_ms};
use tracing::Span;

use super::{Addressed, Incoming, SHARED, addressed, deadline_ms, failed, in_order, panics, span};
use crate::{metadata, presence, store::Store};

/// The commands that can share a script call with those of other rooms.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Heartbeats,
    Metadata,
}

/// The kind of `commands`, if all of them have the same.
pub(super) fn kind_of(commands: &[Incoming]) -> Option<Kind> {
    let of = |incoming: &Incoming| match incoming.command {
        Command::Heartbeat(_) => Some(Kind::Heartbeats),
        Command::Metadata(_) => Some(Kind::Metadata),
        _ => None,
    };
    let first = of(commands.first()?);
    first.filter(|_| commands.iter().all(|incoming| of(incoming) == first))
}

/// Groups rooms of one slot and one kind into calls, as long as a call is not full.
pub(super) fn group(store: &Store, rooms: Vec<Vec<Incoming>>) -> Vec<Vec<Incoming>> {
    let mut full = Vec::new();
    let mut open: HashMap<_, Vec<Incoming>> = HashMap::new();
    for room in rooms {
        let slot = room.first().map_or(0, |first| store.slot(first.command.partition()));
        let call = open.entry((kind_of(&room), slot)).or_default();
        call.extend(room);
        if call.len() >= SHARED {
            full.push(std::mem::take(call));
        }
    }
    full.extend(open.into_values().filter(|call| !call.is_empty()));
    full
}

/// Carries out commands of one kind, in order. No script call takes more than [`SHARED`], however many a room has.
pub(super) async fn carry_out(store: &Arc<Store>, mut call: Vec<Incoming>) -> Vec<Addressed> {
    let mut answers = Vec::with_capacity(call.len());
    while !call.is_empty() {
        let later = call.split_off(call.len().min(SHARED));
        let mut call = std::mem::replace(&mut call, later);
        // Before every call: the earlier ones may have taken long. Redis rejects what reaches it too late.
        let now = wall_clock_ms();
        call.retain(|incoming| now <= incoming.deadline_ms);
        if call.is_empty() {
            continue;
        }
        let work = Box::pin(async {
            match kind_of(&call) {
                Some(Kind::Metadata) => channels(store, &call).await,
                _ => heartbeats(store, &call).await,
            }
        });
        answers.extend(panics::catch(&call, work).await);
    }
    answers
}

async fn heartbeats(store: &Arc<Store>, call: &[Incoming]) -> Vec<Addressed> {
    let spans: Vec<Span> = call.iter().map(span).collect();
    let beats = call.iter().zip(&spans).filter_map(|(incoming, span)| match &incoming.command {
        Command::Heartbeat(beat) => Some((beat, span)),
        _ => None,
    });
    let outcomes = match presence::heartbeats(store, deadline_ms(call), &beats.collect::<Vec<_>>()).await {
        Ok(outcomes) => outcomes,
        // One room that cannot be read must not fail the others: carry out each command on its own. Those that were carried out
        // already are repeated, which does no harm.
        Err(fault) if fault.code == Code::Internal && call.len() > 1 => {
            spans.iter().for_each(|span| telemetry::span::fail(span, fault.code.as_str(), &fault.message));
            return in_order(store, call).await;
        }
        Err(fault) => spans.iter().zip(call).map(|(span, one)| failed(span, &one.command, fault.clone())).collect(),
    };
    addressed(call, outcomes)
}

async fn channels(store: &Arc<Store>, call: &[Incoming]) -> Vec<Addressed> {
    let spans: Vec<Span> = call.iter().map(span).collect();
    let asked = call.iter().zip(&spans).filter_map(|(incoming, span)| match &incoming.command {
        Command::Metadata(asked) => Some((asked, span)),
        _ => None,
    });
    let results = metadata::carry_out(store, deadline_ms(call), &asked.collect::<Vec<_>>()).await;
    let outcomes = results.into_iter().zip(spans.iter().zip(call));
    let outcomes =
        outcomes.map(|(result, (span, one))| result.unwrap_or_else(|fault| failed(span, &one.command, fault)));
    let outcomes = outcomes.collect();
    addressed(call, outcomes)
}
