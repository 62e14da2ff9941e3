//! Locks: which script each command runs, and what else has to be kept.

use std::sync::Arc;

use protocol::{
    Fault, InstanceId, RoomId,
    command::{
        Outcome,
        lock::{Lock, Locked},
    },
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use crate::store::Store;

/// Carries out what is asked of locks.
pub(crate) async fn carry_out(
    store: &Arc<Store>,
    span: &Span,
    asked: &Lock,
    trace: &TraceContext,
) -> Result<Outcome, Fault> {
    span.record("lock.channel_name", asked.room().as_str());
    let locked = match asked {
        Lock::Acquire(acquire) => {
            name(span, &acquire.lock, &acquire.conn);
            let locked = store.acquire(span, acquire, trace).await?;
            if let Locked::Held(_) | Locked::Waits { .. } = locked {
                // A gateway that dies must be found to have had a lock or a waiter here.
                store.refresh(span, asked.room(), &acquire.node).await;
            }
            locked
        }
        Lock::Renew(renew) => {
            name(span, &renew.lock, &renew.conn);
            store.renew(span, renew, trace).await?
        }
        Lock::Release(release) => {
            name(span, &release.lock, &release.conn);
            let locked = store.release(span, release, trace).await?;
            leave(store, asked.room(), release.leaving.as_ref()).await;
            locked
        }
        Lock::Withdraw(withdraw) => {
            name(span, &withdraw.lock, &withdraw.conn);
            let locked = store.withdraw(span, withdraw, trace).await?;
            leave(store, asked.room(), withdraw.leaving.as_ref()).await;
            locked
        }
        Lock::Drop(drop) => {
            span.record("presence.conn_id", drop.conn.as_str());
            store.drop_locks(span, drop, trace).await?;
            leave(store, asked.room(), drop.leaving.as_ref()).await;
            Locked::Done
        }
        Lock::Expire { room, leaving } => {
            store.expire_locks(span, room, trace).await?;
            leave(store, room, leaving.as_ref()).await;
            Locked::Done
        }
        Lock::Get { channel, name } => {
            Locked::List(store.locks(span, &channel.name, Some(&channel.kind), name.as_ref()).await?)
        }
    };
    tell(span, &locked);
    Ok(Outcome::Lock(locked))
}

/// A gateway has nothing to do with the room any more.
async fn leave(store: &Store, room: &RoomId, gateway: Option<&InstanceId>) {
    if let Some(gateway) = gateway {
        store.node_left(room, gateway).await;
    }
}

fn name(span: &Span, lock: &protocol::LockId, conn: &protocol::ConnId) {
    span.record("lock.channel_type", lock.channel.kind.as_str())
        .record("lock.name", lock.name.as_str())
        .record("presence.conn_id", conn.as_str());
}

fn tell(span: &Span, locked: &Locked) {
    let (outcome, holder) = match locked {
        Locked::Held(held) => ("held", Some(held)),
        Locked::Waits { holder, .. } => ("waits", Some(holder)),
        Locked::Taken(holder) => ("taken", Some(holder)),
        Locked::Withdrawn(holder) => ("withdrawn", holder.as_ref()),
        Locked::Lost => ("lost", None),
        Locked::Full => ("full", None),
        Locked::Overtaken => ("overtaken", None),
        Locked::Done => ("done", None),
        Locked::List(_) => ("listed", None),
    };
    span.record("lock.outcome", outcome);
    if let Some(holder) = holder {
        span.record("lock.holder", holder.conn.as_str()).record("lock.fence", holder.fence as i64);
    }
    if let Locked::Waits { ahead, .. } = locked {
        span.record("lock.ahead", *ahead as i64);
    }
}
