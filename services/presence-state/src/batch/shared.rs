//! Script calls that several rooms share: heartbeats, or metadata commands, of rooms of one slot.

use std::{collections::HashMap, sync::Arc};

use rollcall_protocol::{
    ChannelId, Code,
    command::{Command, metadata::Act},
    envelope::wall_clock_ms,
};
use tracing::Span;

use super::{Done, Incoming, SHARED, Slots, addressed, deadline_ms, failed, panics, single, span, to_senders};
use crate::{
    answers::{Addressed, Outlet},
    metadata, presence,
    store::Store,
};

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
pub(super) async fn carry_out(store: &Arc<Store>, outlet: &impl Outlet, mut call: Vec<Incoming>) {
    while let Some(first) = call.first() {
        let space = outlet.spaces().take(&first.command).await;
        let later = call.split_off(call.len().min(SHARED));
        let mut now = std::mem::replace(&mut call, later);
        // Before every call: the earlier ones may have taken long. Redis rejects what reaches it too late.
        let now_ms = wall_clock_ms();
        now.retain(|incoming| !incoming.is_late(now_ms));
        if now.is_empty() {
            continue;
        }
        let work = Box::pin(async {
            match kind_of(&now) {
                Some(Kind::Metadata) => channels(store, &now).await,
                _ => Done::all(&now, heartbeats(store, &now).await),
            }
        });
        let done = panics::catch(&now, work).await;
        outlet.send(done.answers, space);
        // What the call left out comes first.
        call.splice(..0, now.drain(done.count..));
    }
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
            spans.iter().for_each(|span| rollcall_telemetry::span::fail(span, fault.code.as_str(), &fault.message));
            let mut answers = Vec::with_capacity(call.len());
            for one in call {
                answers.push(Box::pin(single(store, one)).await);
            }
            return answers;
        }
        Err(fault) => spans.iter().zip(call).map(|(span, one)| failed(span, &one.command, fault.clone())).collect(),
    };
    addressed(call, outcomes)
}

/// Carries out commands on channels, as many as fit into a call. Those who read the same channel share one read, unless a write comes
/// between them: the script is one step, so they would read the same.
pub(super) async fn channels(store: &Arc<Store>, call: &[Incoming]) -> Done {
    let spans: Vec<Span> = call.iter().map(span).collect();
    let (mut asked, mut answered_by) = (Vec::with_capacity(call.len()), Vec::with_capacity(call.len()));
    let mut reads: HashMap<&ChannelId, usize> = HashMap::new();
    for (incoming, span) in call.iter().zip(&spans) {
        let Command::Metadata(one) = &incoming.command else { continue };
        let shared = match (&one.act, reads.get(&one.channel)) {
            (Act::Get, Some(read)) => Some(*read),
            (Act::Get, None) => {
                reads.insert(&one.channel, asked.len());
                None
            }
            _ => {
                reads.remove(&one.channel);
                None
            }
        };
        answered_by.push(shared.unwrap_or(asked.len()));
        match shared {
            Some(_) => metadata::describe(span, one),
            None => asked.push((one, span)),
        }
    }
    let results = metadata::carry_out(store, deadline_ms(call), &asked).await;
    let count = answered_by.iter().take_while(|result| **result < results.len()).count();
    let mut askers = vec![Vec::new(); results.len()];
    for (incoming, result) in call[..count].iter().zip(answered_by) {
        askers[result].push(incoming);
    }
    let answers = results.into_iter().zip(asked).zip(askers).flat_map(|((result, (_, span)), askers)| {
        let outcome = result.unwrap_or_else(|fault| failed(span, &askers[0].command, fault));
        to_senders(&askers, outcome, Slots::Dropped)
    });
    Done { answers: answers.collect(), count }
}
