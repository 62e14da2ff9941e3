//! One batch: commands ordered by room, what can be done together put together, answers addressed.

mod panics;

use std::{collections::HashMap, sync::Arc, time::Instant};

use futures_util::future;
use protocol::{
    Code, Fault, RoomId,
    command::{Command, Join, Outcome},
    envelope::wall_clock_ms,
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use crate::{
    command, metadata, presence,
    store::{Caller, Store},
};

/// Joins of one room, or heartbeats or channels of several, that one script call sees to; a script blocks Redis while it runs.
const SHARED: usize = 128;

/// A command that waits.
pub(crate) struct Incoming {
    pub(crate) id: u64,
    pub(crate) reply_to: Arc<str>,
    pub(crate) deadline_ms: u64,
    pub(crate) command: Command,
    pub(crate) trace: TraceContext,
    pub(crate) arrived: Instant,
}

/// To whom, for which requests, what.
pub(crate) type Addressed = (Arc<str>, Vec<u64>, Arc<Outcome>);

/// Carries out a batch: different rooms side by side, one room's commands in order. Rooms that want nothing but
/// heartbeats share script calls, and so do those that want nothing but metadata.
pub(crate) async fn carry_out(store: &Arc<Store>, batch: impl Iterator<Item = Incoming>) -> Vec<Addressed> {
    let batch: Vec<_> = batch.collect();
    // Most batches are one call as they stand.
    if batch.len() <= SHARED && store.has_one_slot() && sharing(&batch).is_some() {
        return Box::pin(in_shared_calls(store, batch)).await;
    }
    let batch = by_room(batch.into_iter());
    let (sharing, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|room| sharing(room).is_some());
    let shared = future::join_all(shared_calls(store, sharing).into_iter().map(|call| in_shared_calls(store, call)));
    let others = future::join_all(others.iter().map(|room| in_order(store, room)));
    let (shared, others) = future::join(shared, others).await;
    shared.into_iter().chain(others).flatten().collect()
}

/// What rooms can share a script call for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Sharing {
    Heartbeats,
    Metadata,
}

/// What all of these commands are.
fn sharing(commands: &[Incoming]) -> Option<Sharing> {
    let of = |incoming: &Incoming| match incoming.command {
        Command::Heartbeat(_) => Some(Sharing::Heartbeats),
        Command::Metadata(_) => Some(Sharing::Metadata),
        _ => None,
    };
    let first = of(commands.first()?);
    first.filter(|_| commands.iter().all(|incoming| of(incoming) == first))
}

/// Puts rooms of one slot together that want the same, as long as a call is not full.
fn shared_calls(store: &Store, rooms: Vec<Vec<Incoming>>) -> Vec<Vec<Incoming>> {
    let mut full = Vec::new();
    let mut open: HashMap<_, Vec<Incoming>> = HashMap::new();
    for room in rooms {
        let slot = room.first().map_or(0, |first| store.slot(first.command.partition()));
        let call = open.entry((sharing(&room), slot)).or_default();
        call.extend(room);
        if call.len() >= SHARED {
            full.push(std::mem::take(call));
        }
    }
    full.extend(open.into_values().filter(|call| !call.is_empty()));
    full
}

/// Commands of one kind in order: no script call takes more than [`SHARED`], however many one room has.
async fn in_shared_calls(store: &Arc<Store>, mut call: Vec<Incoming>) -> Vec<Addressed> {
    let mut answers = Vec::with_capacity(call.len());
    while !call.is_empty() {
        let later = call.split_off(call.len().min(SHARED));
        let mut call = std::mem::replace(&mut call, later);
        // Each time: the calls before may have taken long. What reaches Redis too late is refused there.
        let now = wall_clock_ms();
        call.retain(|incoming| now <= incoming.deadline_ms);
        if call.is_empty() {
            continue;
        }
        let work = Box::pin(async {
            match sharing(&call) {
                Some(Sharing::Metadata) => channels(store, &call).await,
                _ => heartbeats(store, &call).await,
            }
        });
        answers.extend(panics::answered(&call, work).await);
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
        // One room that cannot be read shall not spoil the others: each by itself, which repeats some, harmlessly.
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

/// The earliest deadline of a call.
fn deadline_ms(call: &[Incoming]) -> u64 {
    call.iter().map(|incoming| incoming.deadline_ms).min().unwrap_or(u64::MAX)
}

fn addressed(call: &[Incoming], outcomes: Vec<Outcome>) -> Vec<Addressed> {
    call.iter().zip(outcomes).map(|(incoming, outcome)| to_sender(incoming, outcome)).collect()
}

fn to_sender(incoming: &Incoming, outcome: Outcome) -> Addressed {
    (Arc::clone(&incoming.reply_to), vec![incoming.id], Arc::new(outcome))
}

/// Splits a batch by room; within a room the order stays. What is about a partition stands alone.
fn by_room(batch: impl Iterator<Item = Incoming>) -> Vec<Vec<Incoming>> {
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

/// Carries out commands in order, one after the other.
async fn in_order(store: &Arc<Store>, commands: &[Incoming]) -> Vec<Addressed> {
    let mut answers = Vec::with_capacity(commands.len());
    let mut rest = commands;
    while let Some((first, others)) = rest.split_first() {
        if first.deadline_ms < wall_clock_ms() {
            // Its sender has given up; to carry it out now could surprise whoever came after.
            rest = others;
            continue;
        }
        let together = rest.iter().take(SHARED).take_while(|one| shared_join(one).is_some()).count();
        let (now, later) = rest.split_at(together.max(1));
        rest = later;
        // Boxed: it is as large as all that a command can be.
        let work =
            Box::pin(async { if together > 1 { joins(store, now).await } else { vec![alone(store, first).await] } });
        answers.extend(panics::answered(now, work).await);
    }
    answers
}

async fn alone(store: &Arc<Store>, incoming: &Incoming) -> Addressed {
    let span = span(incoming);
    let caller = Caller { span: &span, deadline_ms: incoming.deadline_ms };
    let outcome = command::carry_out(store, caller, &incoming.command).await;
    to_sender(incoming, outcome.unwrap_or_else(|fault| failed(&span, &incoming.command, fault)))
}

fn shared_join(incoming: &Incoming) -> Option<&Join> {
    match &incoming.command {
        Command::Join(join) if presence::shares(join) => Some(join),
        _ => None,
    }
}

async fn joins(store: &Arc<Store>, batch: &[Incoming]) -> Vec<Addressed> {
    let spans: Vec<Span> = batch.iter().map(span).collect();
    let joins: Vec<(&Join, TraceContext)> = batch
        .iter()
        .zip(&spans)
        .filter_map(|(incoming, span)| Some((shared_join(incoming)?, TraceContext::of(span))))
        .collect();
    // The script call belongs to the first traced join; the others are linked to it by their own spans.
    let first = spans.iter().find(|span| !span.is_disabled()).cloned().unwrap_or_else(Span::none);
    let outcome = match presence::join(store, Caller { span: &first, deadline_ms: deadline_ms(batch) }, &joins).await {
        Ok(joined) => {
            spans.iter().enumerate().for_each(|(index, span)| presence::note(span, &joined, index));
            Outcome::Joined(joined)
        }
        Err(fault) => {
            if let Some(one) = batch.first().filter(|_| fault.code == Code::Internal) {
                first.in_scope(|| tell(&one.command, &fault));
            }
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
    let answers = senders.into_iter().map(|sender| {
        // Each request stands at the place of its join; 0 keeps the places of other gateways' joins.
        let ids = batch.iter().map(|one| if one.reply_to == *sender { one.id } else { 0 }).collect();
        (Arc::clone(sender), ids, Arc::clone(&outcome))
    });
    answers.collect()
}

fn span(incoming: &Incoming) -> Span {
    if incoming.trace.is_empty() {
        return Span::none();
    }
    let span = match incoming.command.name() {
        ("presence", verb) => telemetry::span::presence(verb),
        ("lock", verb) => telemetry::span::lock(verb),
        (_, verb) => telemetry::span::metadata(verb),
    };
    incoming.trace.adopt(&span);
    if let Command::Join(join) = &incoming.command {
        span.record("presence.room_id", join.room.as_str())
            .record("presence.user_id", join.user.as_str())
            .record("presence.conn_id", join.conn.as_str());
    }
    span
}

fn failed(span: &Span, command: &Command, fault: Fault) -> Outcome {
    if fault.code == Code::Internal {
        span.in_scope(|| tell(command, &fault));
    }
    telemetry::span::fail(span, fault.code.as_str(), &fault.message);
    Outcome::Fault(fault)
}

/// What an operator needs to find the broken room.
fn tell(command: &Command, fault: &Fault) {
    let (subject, verb) = command.name();
    let room = command.room().map(RoomId::as_str).unwrap_or_default();
    tracing::error!(room, command = format_args!("{subject}.{verb}"), error = %fault, "a command failed");
}

#[cfg(test)]
mod tests;
