//! `lock:acquire`. If the lock is free, the request is answered at once. A wait does not block the session's queue, see
//! [`waiter`](super::waiter).

use std::{sync::Arc, time::Duration};

use rollcall_protocol::{Code, Fault, LockId, command::lock::Acquire};
use tokio::time::Instant;

use super::waiter::Waiter;
use crate::socket::{ack::Ack, client::Client, session::not_joined};

/// The most locks that one socket may hold or wait for, together: a wait may become a lock at any time.
const MOST: usize = 16;

pub(super) async fn acquire(client: &Arc<Client>, lock: LockId, ttl_ms: u64, wait_ms: u64, ack: Ack) {
    let Some(user) = client.session.joined_user() else { return ack.reject(&not_joined()) };
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let asked_again = client.session.locks(|locks| locks.join_wait(&lock, ack, (wait_ms > 0).then_some(until)));
    let Err(ack) = asked_again else { return };
    if client.session.locks(|locks| locks.count()) >= MOST {
        let sentence = format!("a socket may hold or wait for at most {MOST} locks");
        return ack.reject(&Fault::new(Code::Overloaded, sentence));
    }
    let subscription = match client.gateway.relay.listen(&lock.channel.name, ack.span()).await {
        Ok(subscription) => subscription,
        Err(fault) => return ack.reject(&fault),
    };
    let acquire = Acquire {
        lock,
        user,
        conn: client.conn.clone(),
        gateway: client.gateway.bus.instance().clone(),
        op: client.session.next_op_number(),
        ttl_ms,
        wait_ms,
    };
    // Subscribe before the request: the grant may come before the answer that the lock is taken.
    let Some(updates) = subscription.wait(&acquire.lock, &acquire.conn, acquire.op) else {
        return ack.reject(&Fault::new(Code::LockHeld, "this socket waits for the lock already"));
    };
    Waiter::new(client, acquire, subscription, updates, ack, until).begin().await;
}
