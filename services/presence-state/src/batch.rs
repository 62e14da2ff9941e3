//! One batch of commands: different rooms run concurrently, one room's commands run in order. Commands that can share a script
//! call do (`shared`: heartbeats and metadata of several rooms; here: joins of one room).

mod panics;
mod shared;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use futures_util::future;
use rollcall_protocol::{
    Code, Fault, RoomId,
    command::{Command, Join, Outcome},
    envelope::wall_clock_ms,
};
use rollcall_telemetry::propagation::TraceContext;
use tracing::Span;

use crate::{
    answers::{Addressed, Outlet},
    command,
    open::Open,
    presence,
    queue::Waits,
    store::{Caller, Store},
};

/// The most commands in one script call: joins of one room, or heartbeats or metadata of several. A script blocks Redis while it
/// runs.
const SHARED: usize = 128;

/// A command that waits to be carried out.
pub(crate) struct Incoming {
    pub(crate) id: u64,
    pub(crate) reply_to: Arc<str>,
    pub(crate) deadline_ms: u64,
    pub(crate) command: Command,
    pub(crate) trace: TraceContext,
    pub(crate) open: Arc<Open>,
}

impl Incoming {
    /// Whether its sender has given up.
    fn is_late(&self, now_ms: u64) -> bool {
        self.deadline_ms < now_ms
    }
}

impl Waits for Incoming {
    fn shares_call(&self, before: &Self) -> bool {
        // Heartbeats share one only where a room has nothing else, and metadata only up to so many bytes.
        shared_join(before).is_some() && shared_join(self).is_some()
    }
}

/// Carries out a batch, and sends the answers of each call as soon as they are there. Rooms that have only heartbeats share script
/// calls, and so do rooms that have only metadata commands.
pub(crate) async fn carry_out(store: &Arc<Store>, outlet: &impl Outlet, batch: Vec<Incoming>) {
    // Most batches fit one call without being sorted by room.
    if batch.len() <= SHARED && store.has_one_slot() && shared::kind_of(&batch).is_some() {
        return Box::pin(shared::carry_out(store, outlet, batch)).await;
    }
    let batch = by_room(batch.into_iter());
    let (sharing, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|room| shared::kind_of(room).is_some());
    let calls = shared::group(store, sharing).into_iter();
    let shared = future::join_all(calls.map(|call| shared::carry_out(store, outlet, call)));
    let others = future::join_all(others.into_iter().map(|room| in_order(store, outlet, room)));
    future::join(shared, others).await;
}

/// The earliest deadline of a call.
fn deadline_ms(call: &[Incoming]) -> u64 {
    call.iter().map(|incoming| incoming.deadline_ms).min().unwrap_or(u64::MAX)
}

fn addressed(call: &[Incoming], outcomes: Vec<Outcome>) -> Vec<Addressed> {
    call.iter().zip(outcomes).map(|(incoming, outcome)| to_sender(incoming, outcome)).collect()
}

fn to_sender(incoming: &Incoming, outcome: Outcome) -> Addressed {
    Addressed {
        reply_to: Arc::clone(&incoming.reply_to),
        ids: vec![incoming.id],
        outcome: Arc::new(outcome),
        open: vec![Arc::clone(&incoming.open)],
    }
}

/// What a call did: the first of its commands, and their answers.
struct Done {
    answers: Vec<Addressed>,
    count: usize,
}

impl Done {
    /// Every command of a call was carried out.
    fn all(call: &[Incoming], answers: Vec<Addressed>) -> Self {
        Self { answers, count: call.len() }
    }
}

/// Answers with one outcome, one for each sender. With `Slots::Kept` the id of each request is at the index of its command, and 0
/// stands for the commands of other senders.
fn to_senders(call: &[&Incoming], outcome: Outcome, slots: Slots) -> Vec<Addressed> {
    let outcome = Arc::new(outcome);
    let mut senders: Vec<&Arc<str>> = call.iter().map(|incoming| &incoming.reply_to).collect();
    senders.sort_unstable();
    senders.dedup();
    let answer = |sender: &Arc<str>| {
        let (mut ids, mut open) = (Vec::new(), Vec::new());
        for incoming in call {
            if incoming.reply_to == *sender {
                ids.push(incoming.id);
                open.push(Arc::clone(&incoming.open));
            } else if slots == Slots::Kept {
                ids.push(0);
            }
        }
        Addressed { reply_to: Arc::clone(sender), ids, outcome: Arc::clone(&outcome), open }
    };
    senders.into_iter().map(answer).collect()
}

/// What the index of an id in a shared answer says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slots {
    /// Which of the joined it is.
    Kept,
    /// Nothing: the outcome is the same for all.
    Dropped,
}

/// Splits a batch by room and keeps the order within each room. Commands for a partition are on their own.
fn by_room(batch: impl Iterator<Item = Incoming>) -> Vec<Vec<Incoming>> {
    let mut rooms: Vec<Vec<Incoming>> = Vec::new();
    let mut indices: HashMap<RoomId, usize> = HashMap::new();
    for incoming in batch {
        match incoming.command.room().cloned() {
            Some(room) => {
                let index = *indices.entry(room).or_insert_with(|| {
                    rooms.push(Vec::new());
                    rooms.len() - 1
                });
                rooms[index].push(incoming);
            }
            None => rooms.push(vec![incoming]),
        }
    }
    rooms
}

/// Carries out commands one after the other. Consecutive joins share a call, and so do consecutive metadata commands.
async fn in_order(store: &Arc<Store>, outlet: &impl Outlet, commands: Vec<Incoming>) {
    let mut rest = VecDeque::from(commands);
    while let Some(first) = rest.front() {
        if first.is_late(wall_clock_ms()) {
            rest.pop_front();
            continue;
        }
        let space = outlet.spaces().take(&first.command).await;
        let mut now = next_call(&mut rest);
        // After the wait for space, which may have been long. Carrying out what was given up could undo what was done since, and a
        // call is late as a whole.
        let now_ms = wall_clock_ms();
        now.retain(|incoming| !incoming.is_late(now_ms));
        let Some(first) = now.first() else { continue };
        // Boxed: this future is as large as the largest command's.
        let work = Box::pin(async {
            match &now[..] {
                [one] => Done::all(&now, vec![single(store, one).await]),
                [Incoming { command: Command::Join(_), .. }, ..] => Done::all(&now, joins(store, &now).await),
                _ => shared::channels(store, &now).await,
            }
        });
        let done = panics::catch(&now, work).await;
        let (count, lists_room) = (done.count, done.answers.first().is_some_and(Addressed::lists_room));
        let bytes = outlet.send(done.answers, space);
        if lists_room {
            outlet.spaces().remember(&first.command, bytes);
        }
        // What the call left out comes first.
        now.drain(count..).rev().for_each(|left_out| rest.push_front(left_out));
    }
}

/// Takes the next command, with those behind it that can share its call.
fn next_call(rest: &mut VecDeque<Incoming>) -> Vec<Incoming> {
    let joins = leading(rest, |one| shared_join(one).is_some());
    let channels = leading(rest, |one| matches!(one.command, Command::Metadata(_)));
    let count = joins.max(channels).max(1);
    rest.drain(..count).collect()
}

/// How many of the first commands are of a kind; no more than share a call.
fn leading(commands: &VecDeque<Incoming>, is_of_kind: impl Fn(&Incoming) -> bool) -> usize {
    commands.iter().take(SHARED).take_while(|one| is_of_kind(one)).count()
}

async fn single(store: &Arc<Store>, incoming: &Incoming) -> Addressed {
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
            spans.iter().enumerate().for_each(|(index, span)| presence::record_join(span, &joined, index));
            Outcome::Joined(joined)
        }
        Err(fault) => {
            if let Some(one) = batch.first().filter(|_| fault.code == Code::Internal) {
                first.in_scope(|| log_failure(&one.command, &fault));
            }
            spans.iter().for_each(|span| mark(span, &fault));
            Outcome::Fault(fault)
        }
    };
    to_senders(&batch.iter().collect::<Vec<_>>(), outcome, Slots::Kept)
}

fn span(incoming: &Incoming) -> Span {
    if incoming.trace.is_empty() {
        return Span::none();
    }
    let span = match incoming.command.name() {
        ("presence", verb) => rollcall_telemetry::span::presence(verb),
        ("lock", verb) => rollcall_telemetry::span::lock(verb),
        (_, verb) => rollcall_telemetry::span::metadata(verb),
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
        span.in_scope(|| log_failure(command, &fault));
    }
    mark(span, &fault);
    Outcome::Fault(fault)
}

fn mark(span: &Span, fault: &Fault) {
    let mark = if fault.code.is_refusal() { rollcall_telemetry::span::refuse } else { rollcall_telemetry::span::fail };
    mark(span, fault.code.as_str(), &fault.message);
}

/// Logs what an operator needs to find a broken room.
fn log_failure(command: &Command, fault: &Fault) {
    let (subject, verb) = command.name();
    let room = command.room().map(RoomId::as_str).unwrap_or_default();
    tracing::error!(room, command = format_args!("{subject}.{verb}"), error = %fault, "command failed");
}

#[cfg(test)]
mod tests;
