//! Metadata of channels: reads, writes, and the channel sync of a room's members.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rollcall_protocol::{
    ChannelId, ChannelType, Fault,
    command::{
        Catchup, Outcome,
        metadata::{Act, Change, Metadata, Record, Rejection, TypedRecord, WriteOptions},
    },
};
use tracing::Span;

use crate::store::{Caller, Store, Written};

/// A page ends with the record that makes it larger than this.
const PAGE_BYTES: usize = 1024 * 1024;

/// Carries out commands on channels, in order, in any rooms of one slot; the first ones, at least one, as many as fit into a call.
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

/// Records the command in its span, all fields at once: each separate `record` would cost as much.
pub(crate) fn describe(span: &Span, Metadata { channel, act }: &Metadata) {
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
            if let Rejection::Conflict { key, expected, actual } = &rejected {
                rollcall_telemetry::metrics::metadata_conflict();
                rollcall_telemetry::span::metadata_conflict(
                    span,
                    key.as_ref().map(|key| key.as_str()),
                    *expected,
                    *actual,
                );
            }
            Outcome::Rejected(rejected)
        }
    }
}

/// The records of a room's channels that differ from what its members know, and all their locks. If Redis lost a record, it
/// starts over empty. If Redis lost its last changes, it is written again as it is. Either way members are sent an ordinary
/// event whose revision is above all that they know. What is too large for one message comes in pages.
///
/// # Errors
/// `UNAVAILABLE`, `OVERLOADED`, `INTERNAL`.
pub async fn catch_up(store: &Store, caller: Caller<'_>, asked: &Catchup) -> Result<Outcome, Fault> {
    let span = caller.span;
    span.record("metadata.channel_name", asked.room.as_str());
    let stored = store.revisions(span, &asked.room).await?;
    let stored: BTreeMap<_, _> = stored.iter().map(|(kind, revision)| (kind, *revision)).collect();
    let known: HashMap<_, _> = asked.known.iter().map(|(kind, revision)| (kind, *revision)).collect();
    let channel = |kind: &ChannelType| ChannelId { name: asked.room.clone(), kind: kind.clone() };
    let is_next = |kind: &&ChannelType| asked.after.as_ref().is_none_or(|after| *kind > after);
    let kinds: BTreeSet<_> = stored.keys().chain(known.keys()).copied().filter(is_next).collect();
    let (mut records, mut bytes, mut after) = (Vec::new(), 0, None);
    for kind in kinds {
        if bytes > PAGE_BYTES {
            after = records.last().map(|last: &TypedRecord| last.kind.clone());
            break;
        }
        let record = match (stored.get(kind), known.get(kind)) {
            (Some(stored), Some(known)) if known == stored && !asked.all => continue,
            (Some(stored), Some(known)) if known > stored => {
                write_again(store, caller, channel(kind), *stored, Act::Renew).await?
            }
            (Some(_), _) => store.metadata(caller, &channel(kind)).await?,
            (None, _) => write_again(store, caller, channel(kind), 0, Act::Set).await?,
        };
        bytes += record.bytes();
        records.push(TypedRecord { kind: kind.clone(), record });
    }
    let locks = match after {
        None => store.locks(span, &asked.room, None, None).await?,
        Some(_) => Vec::new(),
    };
    Ok(Outcome::Catchup { records, locks, after })
}

/// Writes a record again, without a change, if its revision is still `expected`. Several gateways may ask for it at once; only
/// the first write succeeds, and the others read.
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
