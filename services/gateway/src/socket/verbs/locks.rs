//! `lock:*`: acquire, renew, release, get.

use std::sync::Arc;

use rollcall_protocol::{
    ChannelId, LockId, LockName,
    client::{DONE, LockAsk},
    command::{
        Command,
        lock::{DropAll, Lock, Locked, Release, Renew},
    },
};
use rollcall_telemetry::propagation::TraceContext;

use super::{
    acquire::acquire,
    lock_call::{call, rejection},
    timer::hold,
};
use crate::{
    socket::{ack::Ack, client::Client, held::TakenLocks},
    translate,
};

pub(in crate::socket) async fn carry_out(client: &Arc<Client>, ask: LockAsk, ack: Ack) {
    match ask {
        LockAsk::Acquire { lock, ttl_ms, wait_ms } => acquire(client, lock, ttl_ms, wait_ms, ack).await,
        LockAsk::Renew { lock, fence, ttl_ms } => renew(client, lock, fence, ttl_ms, ack).await,
        LockAsk::Release { lock, fence } => release(client, lock, fence, ack).await,
        LockAsk::Get { channel, name } => get(client, channel, name, ack).await,
    }
}

async fn renew(client: &Arc<Client>, lock: LockId, fence: u64, ttl_ms: u64, ack: Ack) {
    let renew = Renew { lock, conn: client.conn.clone(), fence, ttl_ms };
    match call(client, Lock::Renew(renew), ack.span()).await {
        Ok(Locked::Held(held)) => {
            let span = ack.span().clone();
            ack.send(&translate::answer::lock(&held));
            // By this gateway's clock the lock had expired, but it had not in Redis.
            if !client.session.locks(|locks| locks.renew(&held))
                && let Ok(subscription) = client.gateway.relay.listen(&held.lock.channel.name, &span).await
            {
                hold(client, held, subscription);
            }
        }
        other => ack.reject(&rejection(other)),
    }
}

async fn release(client: &Arc<Client>, lock: LockId, fence: u64, ack: Ack) {
    drop(client.session.locks(|locks| locks.release(&lock, fence)));
    let (conn, op) = (client.conn.clone(), client.session.next_op_number());
    let release = Lock::Release(Release { lock, conn, op, fence });
    match call(client, release.clone(), ack.span()).await {
        Ok(Locked::Done) => ack.send(&DONE),
        outcome => {
            // Without an answer, the release may or may not have been carried out. The client wants it, so it is sent until it is.
            if outcome.is_err() {
                let trace = TraceContext::of(ack.span());
                client.gateway.pending.send(Command::Lock(release), None, trace);
            }
            ack.reject(&rejection(outcome));
        }
    }
}

async fn get(client: &Client, channel: ChannelId, name: Option<LockName>, ack: Ack) {
    match call(client, Lock::Get { channel, name }, ack.span()).await {
        Ok(Locked::List(locks)) => ack.send(&translate::answer::locks(&locks)),
        other => ack.reject(&rejection(other)),
    }
}

/// Drops the locks and waits of a client that leaves its room, was evicted, or is gone. Those in its own room end with its
/// record; for the others a command is sent.
pub(in crate::socket) fn give_up(client: &Client, taken: TakenLocks) {
    let op = taken.op;
    for room in taken.end(&client.conn) {
        let drop = Command::Lock(Lock::Drop(DropAll { room, conn: client.conn.clone(), op }));
        client.gateway.pending.send(drop, None, TraceContext::default());
    }
}
