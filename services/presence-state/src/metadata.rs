//! Metadata of channels: what is asked of it, and what members of a room may have missed.

use std::sync::Arc;

use protocol::{
    ChannelId, Fault,
    command::{
        Catchup, Outcome,
        metadata::{Act, Change, Metadata, Record, Rejected, TypedRecord, WriteOptions},
    },
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use crate::store::{Store, Written};

/// Carries out what is asked of a channel.
pub(crate) async fn carry_out(
    store: &Arc<Store>,
    span: &Span,
    asked: &Metadata,
    trace: &TraceContext,
) -> Result<Outcome, Fault> {
    let Metadata { channel, act } = asked;
    span.record("metadata.channel_name", channel.name.as_str()).record("metadata.channel_type", channel.kind.as_str());
    let Some(change) = act.change() else {
        let record = store.metadata(span, channel).await?;
        span.record("metadata.revision.actual", record.major_revision as i64);
        return Ok(Outcome::Record(record));
    };
    span.record("presence.conn_id", change.conn.as_str()).record("metadata.items", change.items.len() as i64);
    if let Some(expected) = change.options.major_revision {
        span.record("metadata.revision.expected", expected as i64);
    }
    let written = store.write_metadata(span, channel, act, trace).await?;
    Ok(match written {
        Written::Done(record) => {
            span.record("metadata.revision.actual", record.major_revision as i64).record("metadata.conflict", false);
            Outcome::Record(record)
        }
        Written::Rejected(rejected) => {
            if let Rejected::Conflict { key, expected, actual } = &rejected {
                telemetry::metrics::metadata_conflict();
                telemetry::span::metadata_conflict(span, key.as_ref().map(|key| key.as_str()), *expected, *actual);
            }
            Outcome::Rejected(rejected)
        }
    })
}

/// The records of a room's channels that are not as its members know them, and all their locks. A record that Redis lost is born anew, empty: its
/// members are told so by an event like any other, under a revision above all that they know.
pub(crate) async fn catch_up(
    store: &Arc<Store>,
    span: &Span,
    asked: &Catchup,
    trace: &TraceContext,
) -> Result<Outcome, Fault> {
    span.record("metadata.channel_name", asked.room.as_str());
    let stored = store.revisions(span, &asked.room).await?;
    let mut records = Vec::new();
    for (kind, revision) in &stored {
        if !asked.known.contains(&(kind.clone(), *revision)) {
            let channel = ChannelId { name: asked.room.clone(), kind: kind.clone() };
            let record = store.metadata(span, &channel).await?;
            records.push(TypedRecord { kind: channel.kind, record });
        }
    }
    for (kind, _) in &asked.known {
        if !stored.iter().any(|(other, _)| other == kind) {
            let channel = ChannelId { name: asked.room.clone(), kind: kind.clone() };
            let record = bear_again(store, span, &channel, trace).await?;
            records.push(TypedRecord { kind: channel.kind, record });
        }
    }
    let locks = store.locks(span, &asked.room, None, None).await?;
    Ok(Outcome::Catchup { records, locks })
}

/// Makes an empty record where there is none; several gateways may ask for it at once.
async fn bear_again(
    store: &Arc<Store>,
    span: &Span,
    channel: &ChannelId,
    trace: &TraceContext,
) -> Result<Record, Fault> {
    let change = Change {
        conn: "".into(),
        op: 0,
        author: None,
        items: Vec::new(),
        options: WriteOptions { major_revision: Some(0), ..WriteOptions::default() },
    };
    match store.write_metadata(span, channel, &Act::Set(change), trace).await? {
        Written::Done(record) => Ok(record),
        Written::Rejected(_) => store.metadata(span, channel).await,
    }
}
