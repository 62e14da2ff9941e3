//! `lock:*`.

use std::sync::Arc;

use protocol::{
    ChannelId, LockId, LockName,
    client::{DONE, LockAsk},
    command::{
        Command,
        lock::{DropAll, Lock, Locked, Release, Renew},
    },
};
use telemetry::propagation::TraceContext;

use super::{
    acquire::acquire,
    lock_call::{call, refusal},
    timer::hold,
};
use crate::{
    socket::{ack::Ack, client::Client, held::Taken},
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
            // Its time seemed to be over here, and was not.
            if !client.session.locks(|locks| locks.renew(&held))
                && let Ok(interest) = client.gateway.relay.listen(&held.lock.channel.name, &span).await
            {
                hold(client, held, interest);
            }
        }
        other => ack.refuse(&refusal(other)),
    }
}

async fn release(client: &Arc<Client>, lock: LockId, fence: u64, ack: Ack) {
    drop(client.session.locks(|locks| locks.let_go(&lock, fence)));
    let (conn, op) = (client.conn.clone(), client.session.next_op_number());
    let release = Lock::Release(Release { lock, conn, op, fence });
    match call(client, release.clone(), ack.span()).await {
        Ok(Locked::Done) => ack.send(&DONE),
        outcome => {
            // Without an answer it may have happened or not; its client wants it to, so it is repeated until it has.
            if outcome.is_err() {
                let trace = TraceContext::of(ack.span());
                client.gateway.pending.send(Command::Lock(release), None, trace);
            }
            ack.refuse(&refusal(outcome));
        }
    }
}

async fn get(client: &Client, channel: ChannelId, name: Option<LockName>, ack: Ack) {
    match call(client, Lock::Get { channel, name }, ack.span()).await {
        Ok(Locked::List(locks)) => ack.send(&translate::answer::locks(&locks)),
        other => ack.refuse(&refusal(other)),
    }
}

/// The client leaves its room, was evicted, or is gone: what it holds elsewhere ends too. What it holds in the room, and its
/// places in line there, end with its record.
pub(in crate::socket) fn give_up(client: &Client, taken: Taken) {
    let op = taken.op;
    for room in taken.end(&client.conn) {
        let drop = Command::Lock(Lock::Drop(DropAll { room, conn: client.conn.clone(), op }));
        client.gateway.pending.send(drop, None, TraceContext::default());
    }
}
