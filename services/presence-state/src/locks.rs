//! Lock commands: which script each of them runs.

use rollcall_protocol::{
    Fault,
    command::{
        Outcome,
        lock::{Lock, Locked},
    },
};
use tracing::Span;

use crate::store::{Caller, Store};

/// Carries out a lock command.
pub(crate) async fn carry_out(store: &Store, caller: Caller<'_>, asked: &Lock) -> Result<Outcome, Fault> {
    let span = caller.span;
    span.record("lock.channel_name", asked.room().as_str());
    let locked = match asked {
        Lock::Acquire(acquire) => {
            record_lock(span, &acquire.lock, &acquire.conn);
            store.acquire(caller, acquire).await?
        }
        Lock::Renew(renew) => {
            record_lock(span, &renew.lock, &renew.conn);
            store.renew(caller, renew).await?
        }
        Lock::Release(release) => {
            record_lock(span, &release.lock, &release.conn);
            store.release(caller, release).await?
        }
        Lock::Withdraw(withdraw) => {
            record_lock(span, &withdraw.lock, &withdraw.conn);
            store.withdraw(caller, withdraw).await?
        }
        Lock::Drop(drop) => {
            span.record("presence.conn_id", drop.conn.as_str());
            store.drop_locks(caller, drop).await?;
            Locked::Done
        }
        Lock::Expire { room } => {
            store.expire_locks(caller, room).await?;
            Locked::Done
        }
        Lock::Get { channel, name } => {
            Locked::List(store.locks(span, &channel.name, Some(&channel.kind), name.as_ref()).await?)
        }
    };
    record_outcome(span, &locked);
    Ok(Outcome::Lock(locked))
}

fn record_lock(span: &Span, lock: &rollcall_protocol::LockId, conn: &rollcall_protocol::ConnId) {
    span.record("lock.channel_type", lock.channel.kind.as_str())
        .record("lock.name", lock.name.as_str())
        .record("presence.conn_id", conn.as_str());
}

fn record_outcome(span: &Span, locked: &Locked) {
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
