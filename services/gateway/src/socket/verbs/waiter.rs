//! One wait for a lock. It is a task of its own, so that the session's queue and heartbeats go on. The grant comes as an event of
//! the room. If one may have been missed, or the holder's lock has expired, the waiter asks again under the same operation,
//! which keeps its position among the waiters.

use std::{sync::Arc, time::Duration};

use rollcall_protocol::{
    Code, Fault,
    command::{
        Command,
        lock::{Acquire, Held, Lock, Locked, Withdraw},
    },
};
use rollcall_telemetry::propagation::TraceContext;
use tokio::{
    select,
    sync::watch,
    time::{Instant, timeout_at},
};
use tracing::Span;

use super::{
    lock_call::{call, rejection},
    timer::{AFTER_EXPIRY, hold},
};
use crate::{
    auth::{Right, now_s},
    backoff::jitter,
    relay::{LockSubscription, LockUpdate},
    socket::{
        ack::Ack,
        client::Client,
        held::{Wait, Waiting},
        session::not_joined,
    },
    translate,
};

/// Waiters ask again after the holder's lock has expired, each a little later than the waiter ahead of it: the first request
/// makes Redis grant the lock, and the others receive that event.
const STAGGER: Duration = Duration::from_millis(20);
const MOST_STAGGER: u64 = 50;
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// One wait for a lock.
pub(super) struct Waiter {
    client: Arc<Client>,
    acquire: Acquire,
    subscription: LockSubscription,
    updates: watch::Receiver<LockUpdate>,
    wait: Arc<Wait>,
    /// When it ends. A change that came before anyone waited for it is seen, too.
    until: watch::Receiver<Instant>,
    /// The span of the first request.
    span: Span,
    began: Instant,
    /// How often it asked for the lock.
    asked: u32,
    /// Whether it did not get the lock at once.
    waited: bool,
}

/// The session left its room, or is gone.
struct Left;

impl Waiter {
    pub(super) fn new(
        client: &Arc<Client>,
        acquire: Acquire,
        subscription: LockSubscription,
        updates: watch::Receiver<LockUpdate>,
        ack: Ack,
        until: Instant,
    ) -> Self {
        let span = ack.span().clone();
        let wait = Wait::new(ack, until);
        Self {
            client: Arc::clone(client),
            acquire,
            subscription,
            updates,
            span,
            until: wait.until(),
            wait,
            began: Instant::now(),
            asked: 0,
            waited: false,
        }
    }

    /// Asks for the lock, and waits for it in a task if another connection holds it. The task ends at its deadline, or earlier if
    /// the session leaves the room: the room then drops the sender of `updates`.
    pub(super) async fn begin(mut self) {
        match self.ask().await {
            Ok(Locked::Waits { holder, ahead }) => {
                let count = self.client.gateway.waiting.one_more();
                let waiting = Waiting::new(self.subscription.clone(), Arc::clone(&self.wait), count);
                drop(self.client.session.locks(|locks| locks.wait(self.acquire.lock.clone(), waiting)));
                self.waited = true;
                tokio::spawn(self.wait(holder, ahead));
            }
            outcome => self.end(outcome),
        }
    }

    async fn ask(&mut self) -> Result<Locked, Fault> {
        self.asked += 1;
        let left = self.until.borrow().saturating_duration_since(Instant::now());
        let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        call(&self.client, Lock::Acquire(Acquire { wait_ms, ..self.acquire.clone() }), &self.span).await
    }

    async fn wait(mut self, holder: Held, mut ahead: u64) {
        let mut ask_at = self.ask_again_at(holder.expires_at_ms, ahead);
        loop {
            let deadline = *self.until.borrow();
            let Some(update) = self.next_update(deadline.min(ask_at)).await else {
                ask_at = Instant::now();
                continue;
            };
            match update {
                Err(Left) => return self.end_left(),
                Ok(LockUpdate::Granted(held)) => return self.end(Ok(Locked::Held(held))),
                Ok(LockUpdate::Holder { expires_at_ms }) => ask_at = self.ask_again_at(expires_at_ms, ahead),
                Ok(LockUpdate::None) => {}
                Ok(LockUpdate::Unsure) if Instant::now() >= deadline => {
                    let outcome = self.withdraw().await;
                    return self.end(outcome);
                }
                Ok(LockUpdate::Unsure) => match self.ask().await {
                    Ok(Locked::Waits { holder, ahead: now }) => {
                        ahead = now;
                        ask_at = self.ask_again_at(holder.expires_at_ms, ahead);
                    }
                    Ok(Locked::Overtaken) => {
                        let outcome = self.withdraw().await;
                        return self.end(outcome);
                    }
                    Ok(outcome) => return self.end(Ok(outcome)),
                    Err(_) => ask_at = Instant::now() + jitter(RETRY_EVERY),
                },
            }
        }
    }

    /// The next update of the lock, or `Unsure` at `until`; [`Left`] if the session left its room. `None` if another request of
    /// the client changed the deadline.
    async fn next_update(&mut self, until: Instant) -> Option<Result<LockUpdate, Left>> {
        let changed = select! {
            changed = timeout_at(until, self.updates.changed()) => changed,
            _ = self.until.changed() => return None,
        };
        Some(match changed {
            Ok(Ok(())) => Ok(self.updates.borrow_and_update().clone()),
            // The sender was dropped: the socket left its room, or is gone.
            Ok(Err(_)) => match self.updates.borrow().clone() {
                LockUpdate::Granted(held) => Ok(LockUpdate::Granted(held)),
                _ => Err(Left),
            },
            Err(_) => Ok(LockUpdate::Unsure),
        })
    }

    /// When to ask again if there is no update before.
    fn ask_again_at(&self, expires_at_ms: u64, ahead: u64) -> Instant {
        let left = expires_at_ms.saturating_sub(self.client.gateway.bus.redis_now_ms());
        Instant::now() + Duration::from_millis(left) + AFTER_EXPIRY + STAGGER * ahead.min(MOST_STAGGER) as u32
    }

    async fn withdraw(&self) -> Result<Locked, Fault> {
        call(&self.client, self.withdrawal(true), &self.span).await
    }

    fn withdrawal(&self, keep: bool) -> Lock {
        let Acquire { lock, conn, op, .. } = &self.acquire;
        Lock::Withdraw(Withdraw { lock: lock.clone(), conn: conn.clone(), op: *op, keep })
    }

    /// Ends the wait of a session that left its room. If its client is gone, what drops its locks and waits in Redis drops this one
    /// too: a thousand waiters that vanish send no withdrawals besides. A client that is here may join again before that is carried out,
    /// which then does nothing.
    fn end_left(&self) {
        let acks = self.take_acks(false);
        if self.client.outlet.is_open() {
            self.give_up();
        }
        reject_all(acks, &not_joined());
    }

    /// Ends the wait here; returns what is to be answered.
    fn take_acks(&self, is_held: bool) -> Vec<Ack> {
        self.forget();
        let waited = self.began.elapsed();
        if self.waited {
            rollcall_telemetry::metrics::lock_waited(is_held, waited);
        }
        self.span
            .record("lock.waited_ms", waited.as_millis() as i64)
            .record("lock.retries", i64::from(self.asked.saturating_sub(1)));
        self.wait.take_acks()
    }

    /// Ends the wait, and sends the same answer to every request that joined it.
    fn end(&self, outcome: Result<Locked, Fault>) {
        let acks = self.take_acks(matches!(outcome, Ok(Locked::Held(_))));
        match outcome {
            Ok(Locked::Held(held)) if self.may_hold() => {
                self.span.record("lock.fence", held.fence as i64);
                acks.into_iter().for_each(|ack| ack.send(&translate::answer::lock(&held)));
                hold(&self.client, held, self.subscription.clone());
            }
            // The client left its room, or its token lost the right, before the grant came.
            Ok(Locked::Held(_)) => {
                self.give_up();
                reject_all(acks, &not_joined());
            }
            Ok(Locked::Taken(holder) | Locked::Withdrawn(Some(holder)) | Locked::Waits { holder, .. }) => {
                let fault = Fault::new(Code::LockHeld, "another connection holds the lock");
                acks.into_iter()
                    .for_each(|ack| ack.reject_with(&fault, &translate::answer::lock_held(&fault, &holder)));
            }
            Ok(Locked::Withdrawn(None) | Locked::Overtaken) => {
                reject_all(acks, &Fault::new(Code::LockHeld, "the lock could not be had in time"));
            }
            // The client may hold the lock in Redis, or wait for it, without this gateway knowing.
            Err(fault) => {
                self.give_up();
                reject_all(acks, &fault);
            }
            other => reject_all(acks, &rejection(other)),
        }
    }

    fn may_hold(&self) -> bool {
        self.client.session.joined_user().is_some()
            && self.client.access.has(Right::Lock, &self.acquire.lock.channel.name, now_s())
    }

    fn forget(&self) {
        self.subscription.stop_waiting(&self.acquire.lock, &self.acquire.conn);
        drop(self.client.session.locks(|locks| locks.end_wait(&self.acquire.lock)));
    }

    fn give_up(&self) {
        let withdraw = Command::Lock(self.withdrawal(false));
        self.client.gateway.pending.send(withdraw, None, TraceContext::default());
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(conn = %self.client.conn, "lock wait panicked");
            self.end(Err(Fault::unexpected()));
        }
    }
}

fn reject_all(acks: Vec<Ack>, fault: &Fault) {
    acks.into_iter().for_each(|ack| ack.reject(fault));
}
