//! The expiry of locks that are held here: when a lock expires, presence-state is asked to grant it to the next waiter.

use std::{sync::Arc, time::Duration};

use rollcall_protocol::{
    LockId,
    command::{
        Command,
        lock::{Held, Lock},
    },
};
use rollcall_telemetry::propagation::TraceContext;
use tokio::time::sleep;

use crate::{
    relay::LockSubscription,
    socket::{
        client::Client,
        held::{Expiry, HeldLock},
        task::OwnedTask,
    },
};

/// How long after a lock's expiry it is checked.
pub(super) const AFTER_EXPIRY: Duration = Duration::from_millis(5);

/// Records that the client holds a lock, and ends the lock when it expires.
pub(in crate::socket) fn hold(client: &Arc<Client>, held: Held, subscription: LockSubscription) {
    let weak = Arc::downgrade(client);
    let lock = held.lock.clone();
    let before = client.session.locks(|locks| {
        // Spawned under the session's mutex, so that the timer finds the entry that owns it.
        let timer = OwnedTask::spawn(async move {
            loop {
                let Some(client) = weak.upgrade() else { return };
                let Some(left) = expire(&client, &lock) else { return };
                drop(client);
                sleep(left + AFTER_EXPIRY).await;
            }
        });
        let count = client.gateway.held.one_more();
        locks.hold(HeldLock::new(held, subscription, count, timer))
    });
    drop(before);
}

/// Ends the lock if it has expired. Returns the remaining time if it is still held.
fn expire(client: &Client, lock: &LockId) -> Option<Duration> {
    let now_ms = client.gateway.bus.redis_now_ms();
    match client.session.locks(|locks| locks.expire(lock, now_ms)) {
        Expiry::NotHeld => None,
        Expiry::In(left_ms) => Some(Duration::from_millis(left_ms)),
        Expiry::Expired(ended) => {
            let expire = Command::Lock(Lock::Expire { room: lock.channel.name.clone() });
            client.gateway.pending.send(expire, None, TraceContext::default());
            drop(ended);
            None
        }
    }
}
