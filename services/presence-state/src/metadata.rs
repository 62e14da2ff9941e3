//! Metadata of channels: what is asked of it, and what members of a room may have missed.

use std::collections::{HashMap, HashSet};

use protocol::{
    ChannelId, ChannelType, Fault,
    command::{
        Catchup, Outcome,
        metadata::{Act, Change, Metadata, Record, Rejected, TypedRecord, WriteOptions},
    },
};
use tracing::Span;

use crate::store::{Caller, Store, Written};

/// Carries out what is asked of channels, in order, in any rooms of one slot.
pub(crate) async fn carry_out(
    store: &Store,
    deadline_ms: u64,
    asked: &[(&Metadata, &Span)],
) -> Vec<Result<Outcome, Fault>> {
    for (asked, span) in asked {
        describe(span, asked);
    }
    let written = store.channels(deadline_ms, asked).await;
    written.into_iter().zip(asked).map(|(written, (asked, span))| Ok(outcome(written?, &asked.act, span))).collect()
}

/// What is asked, at once: each word to a span on its own costs as much.
fn describe(span: &Span, Metadata { channel, act }: &Metadata) {
    let change = act.change();
    tracing::record_all!(
        span,
        metadata.channel_name = channel.name.as_str(),
        metadata.channel_type = channel.kind.as_str(),
        presence.conn_id = change.map(|change| change.conn.as_str()),
        metadata.items = change.map(|change| change.items.len() as i64),
        metadata.revision.expected = change.and_then(|change| change.options.major_revision).map(|major| major as i64),
    );
}

fn outcome(written: Written, act: &Act, span: &Span) -> Outcome {
    match written {
        Written::Done(record) => {
            let conflict = act.change().map(|_| false);
            let actual = record.major_revision as i64;
            tracing::record_all!(span, metadata.revision.actual = actual, metadata.conflict = conflict);
            Outcome::Record(record)
        }
        Written::Rejected(rejected) => {
            if let Rejected::Conflict { key, expected, actual } = &rejected {
                telemetry::metrics::metadata_conflict();
                telemetry::span::metadata_conflict(span, key.as_ref().map(|key| key.as_str()), *expected, *actual);
            }
            Outcome::Rejected(rejected)
        }
    }
}

/// The records of a room's channels that are not as its members know them, and all their locks. A record that Redis lost begins
/// again, empty, and one whose last changes it lost is renewed: members are told so by an event like any other, under a
/// revision above all that they know.
///
/// # Errors
/// `UNAVAILABLE`, `OVERLOADED`, `INTERNAL`.
pub async fn catch_up(store: &Store, caller: Caller<'_>, asked: &Catchup) -> Result<Outcome, Fault> {
    let span = caller.span;
    span.record("metadata.channel_name", asked.room.as_str());
    let stored = store.revisions(span, &asked.room).await?;
    let known: HashMap<_, _> = asked.known.iter().map(|(kind, revision)| (kind, *revision)).collect();
    let channel = |kind: &ChannelType| ChannelId { name: asked.room.clone(), kind: kind.clone() };
    let mut records = Vec::new();
    for (kind, revision) in &stored {
        let record = match known.get(kind) {
            Some(known) if known == revision && !asked.all => continue,
            Some(known) if known > revision => write_again(store, caller, channel(kind), *revision, Act::Renew).await?,
            _ => store.metadata(caller, &channel(kind)).await?,
        };
        records.push(TypedRecord { kind: kind.clone(), record });
    }
    let stored: HashSet<_> = stored.iter().map(|(kind, _)| kind).collect();
    for kind in known.into_keys().filter(|kind| !stored.contains(kind)) {
        let record = write_again(store, caller, channel(kind), 0, Act::Set).await?;
        records.push(TypedRecord { kind: kind.clone(), record });
    }
    let locks = store.locks(span, &asked.room, None, None).await?;
    Ok(Outcome::Catchup { records, locks })
}

/// Writes a record whose revision is `expected`, with nothing new in it; several gateways may ask for it at once, and the first
/// one does it.
async fn write_again(
    store: &Store,
    caller: Caller<'_>,
    channel: ChannelId,
    expected: u64,
    act: fn(Change) -> Act,
) -> Result<Record, Fault> {
    let change = Change {
        conn: "".into(),
        op: 0,
        author: None,
        items: Vec::new(),
        options: WriteOptions { major_revision: Some(expected), ..WriteOptions::default() },
    };
    let asked = Metadata { channel, act: act(change) };
    match store.write_metadata(caller, &asked).await? {
        Written::Done(record) => Ok(record),
        Written::Rejected(_) => store.metadata(caller, &asked.channel).await,
    }
}
