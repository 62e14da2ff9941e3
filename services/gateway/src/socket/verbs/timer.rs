//! The time of a lock that is held here: when it is over, whoever waits in Redis is to have the lock.

use std::{sync::Arc, time::Duration};

use protocol::{
    LockId,
    command::{
        Command,
        lock::{Held, Lock},
    },
};
use telemetry::propagation::TraceContext;
use tokio::time::sleep;

use crate::{
    relay::LockSubscription,
    socket::{
        client::Client,
        held::{HeldLock, Time},
        task::OwnedTask,
    },
};

/// Looked at so long after the lock's time is over.
pub(super) const AFTER_EXPIRY: Duration = Duration::from_millis(5);

/// Keeps a lock in mind until it is let go, and has it ended when its time is over.
pub(in crate::socket) fn hold(client: &Arc<Client>, held: Held, interest: LockSubscription) {
    let weak = Arc::downgrade(client);
    let lock = held.lock.clone();
    let before = client.session.locks(|locks| {
        // Under the session's lock, so that the timer finds the entry that owns it.
        let timer = OwnedTask::spawn(async move {
            loop {
                let Some(client) = weak.upgrade() else { return };
                let Some(left) = expire(&client, &lock) else { return };
                drop(client);
                sleep(left + AFTER_EXPIRY).await;
            }
        });
        let count = client.gateway.held.one_more();
        locks.hold(HeldLock::new(held, interest, count, timer))
    });
    drop(before);
}

/// Ends the lock if its time is over; else says how much is left, if it is held.
fn expire(client: &Client, lock: &LockId) -> Option<Duration> {
    let now_ms = client.gateway.bus.redis_now_ms();
    match client.session.locks(|locks| locks.expire(lock, now_ms)) {
        Time::Gone => None,
        Time::Left(left_ms) => Some(Duration::from_millis(left_ms)),
        Time::Over(ended) => {
            let expire = Command::Lock(Lock::Expire { room: lock.channel.name.clone() });
            client.gateway.pending.send(expire, None, TraceContext::default());
            drop(ended);
            None
        }
    }
}
