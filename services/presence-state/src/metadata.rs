//! Metadata of channels: what is asked of it, and what members of a room may have missed.

use protocol::{
    ChannelId, Fault,
    command::{
        Catchup, Outcome,
        metadata::{Act, Change, Metadata, Record, Rejected, TypedRecord, WriteOptions},
    },
};
use tracing::Span;

use crate::store::{Store, Written};

/// Carries out what is asked of channels, in order, of any rooms of one place.
pub(crate) async fn carry_out(store: &Store, asked: &[(&Metadata, &Span)]) -> Vec<Result<Outcome, Fault>> {
    for (asked, span) in asked {
        describe(span, asked);
    }
    let written = store.channels(asked).await;
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

/// The records of a room's channels that are not as its members know them, and all their locks. A record that Redis lost is born anew, empty: its
/// members are told so by an event like any other, under a revision above all that they know.
pub(crate) async fn catch_up(store: &Store, span: &Span, asked: &Catchup) -> Result<Outcome, Fault> {
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
            let record = bear_again(store, span, channel).await?;
            records.push(TypedRecord { kind: kind.clone(), record });
        }
    }
    let locks = store.locks(span, &asked.room, None, None).await?;
    Ok(Outcome::Catchup { records, locks })
}

/// Makes an empty record where there is none; several gateways may ask for it at once.
async fn bear_again(store: &Store, span: &Span, channel: ChannelId) -> Result<Record, Fault> {
    let change = Change {
        conn: "".into(),
        op: 0,
        author: None,
        items: Vec::new(),
        options: WriteOptions { major_revision: Some(0), ..WriteOptions::default() },
    };
    let asked = Metadata { channel, act: Act::Set(change) };
    match store.write_metadata(span, &asked).await? {
        Written::Done(record) => Ok(record),
        Written::Rejected(_) => store.metadata(span, &asked.channel).await,
    }
}
