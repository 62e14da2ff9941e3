//! How a session takes a lock. One that is free is answered at once; a waiter is a task next to the session's queue, so that its
//! heartbeats go on: the grant comes as an event of the room, and where one may have been missed, or the holder's time is over,
//! the waiter asks again under the same operation, which keeps its place.

use std::{sync::Arc, time::Duration};

use protocol::{
    Code, Fault, LockId,
    command::{
        Command, Outcome,
        lock::{Acquire, Held, Lock, Locked, Withdraw},
    },
};
use telemetry::propagation::TraceContext;
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tracing::Span;

use super::{
    answer::Answer,
    held::{Time, Wait},
    session::{Membership, Session, not_joined},
};
use crate::{
    relay::{LockSubscription, LockUpdate},
    translate,
};

/// Locks that one socket may hold or wait for.
const MOST: usize = 64;
/// Waiters ask again so long after the holder's time is over, each a little later than the one before it in line: the
/// first one's question hands the lock on, and the others hear of it.
const AFTER_EXPIRY: Duration = Duration::from_millis(5);
const STAGGER: Duration = Duration::from_millis(20);
const MOST_STAGGER: u64 = 50;
const RETRY_EVERY: Duration = Duration::from_millis(250);

pub(super) async fn acquire(session: &Arc<Session>, lock: LockId, ttl_ms: u64, wait_ms: u64, answer: Answer) {
    let Some(Membership { user, .. }) = session.membership().filter(|own| own.joined) else {
        return answer.refuse(&not_joined());
    };
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let asked_again = session.locks(|locks| locks.join_wait(&lock, answer, (wait_ms > 0).then_some(until)));
    let Err(answer) = asked_again else { return };
    if session.locks(|locks| locks.count()) >= MOST {
        let sentence = format!("a socket may hold or wait for at most {MOST} locks");
        return answer.refuse(&Fault::new(Code::Overloaded, sentence));
    }
    let interest = match session.gateway.relay.listen(&lock.channel.name, answer.span()).await {
        Ok(interest) => interest,
        Err(fault) => return answer.refuse(&fault),
    };
    let acquire = Acquire {
        lock,
        user,
        conn: session.conn.clone(),
        gateway: session.gateway.bus.instance().clone(),
        op: session.next_op_number(),
        ttl_ms,
        wait_ms,
    };
    // From before it asks: the grant may come before the answer that it has to wait.
    let Some(news) = interest.wait(&acquire.lock, &acquire.conn, acquire.op) else {
        return answer.refuse(&Fault::new(Code::LockHeld, "this socket waits for the lock already"));
    };
    let span = answer.span().clone();
    let wait = Wait::new(answer, until);
    let mut waiter = Waiter {
        session: Arc::clone(session),
        acquire,
        interest,
        news,
        span,
        until: wait.until(),
        wait,
        began: Instant::now(),
        asked: 0,
        waited: false,
    };
    match waiter.ask().await {
        Ok(Locked::Waits { holder, ahead }) => {
            let (lock, interest, wait) =
                (waiter.acquire.lock.clone(), waiter.interest.clone(), Arc::clone(&waiter.wait));
            session.locks(|locks| locks.wait(lock, interest, wait));
            waiter.waited = true;
            tokio::spawn(waiter.wait(holder, ahead));
        }
        outcome => waiter.end(outcome),
    }
}

struct Waiter {
    session: Arc<Session>,
    acquire: Acquire,
    interest: LockSubscription,
    news: watch::Receiver<LockUpdate>,
    wait: Arc<Wait>,
    /// When it ends. A change is heard even if it came before anyone listened.
    until: watch::Receiver<Instant>,
    /// Of the request that it began with.
    span: Span,
    began: Instant,
    /// How often it asked.
    asked: u32,
    /// Whether it did not have the lock at once.
    waited: bool,
}

impl Waiter {
    async fn ask(&mut self) -> Result<Locked, Fault> {
        self.asked += 1;
        let left = self.until.borrow().saturating_duration_since(Instant::now());
        let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        call(&self.session, Lock::Acquire(Acquire { wait_ms, ..self.acquire.clone() }), &self.span).await
    }

    async fn wait(mut self, holder: Held, mut ahead: u64) {
        let mut ask_at = self.expiry(holder.expires_at_ms, ahead);
        loop {
            let deadline = *self.until.borrow();
            let heard = select! {
                heard = timeout_at(deadline.min(ask_at), self.news.changed()) => Some(heard),
                // Its client asked again: it waits longer, or no more.
                _ = self.until.changed() => None,
            };
            let Some(heard) = heard else {
                ask_at = Instant::now();
                continue;
            };
            let news = match heard {
                Ok(Ok(())) => self.news.borrow_and_update().clone(),
                // The sender was dropped: the socket left its room, or is gone.
                Ok(Err(_)) => {
                    let last = self.news.borrow().clone();
                    match last {
                        LockUpdate::Granted(held) => LockUpdate::Granted(held),
                        _ => return self.end(Err(not_joined())),
                    }
                }
                Err(_) => LockUpdate::Unsure,
            };
            match news {
                LockUpdate::Granted(held) => return self.end(Ok(Locked::Held(held))),
                LockUpdate::Holder { expires_at_ms } => ask_at = self.expiry(expires_at_ms, ahead),
                LockUpdate::None => {}
                LockUpdate::Unsure if Instant::now() >= deadline => {
                    let outcome = self.withdraw().await;
                    return self.end(outcome);
                }
                LockUpdate::Unsure => match self.ask().await {
                    Ok(Locked::Waits { holder, ahead: now }) => {
                        ahead = now;
                        ask_at = self.expiry(holder.expires_at_ms, ahead);
                    }
                    Ok(Locked::Overtaken) => {
                        let outcome = self.withdraw().await;
                        return self.end(outcome);
                    }
                    Ok(outcome) => return self.end(Ok(outcome)),
                    Err(_) => ask_at = Instant::now() + RETRY_EVERY,
                },
            }
        }
    }

    /// When to ask again if nothing is heard before.
    fn expiry(&self, expires_at_ms: u64, ahead: u64) -> Instant {
        let left = expires_at_ms.saturating_sub(self.session.gateway.bus.redis_now_ms());
        Instant::now() + Duration::from_millis(left) + AFTER_EXPIRY + STAGGER * ahead.min(MOST_STAGGER) as u32
    }

    async fn withdraw(&self) -> Result<Locked, Fault> {
        call(&self.session, self.withdrawal(true), &self.span).await
    }

    fn withdrawal(&self, keep: bool) -> Lock {
        let Acquire { lock, conn, op, .. } = &self.acquire;
        Lock::Withdraw(Withdraw { lock: lock.clone(), conn: conn.clone(), op: *op, keep })
    }

    /// It waits no longer; everyone who asked has the same answer.
    fn end(self, outcome: Result<Locked, Fault>) {
        self.interest.stop_waiting(&self.acquire.lock, &self.acquire.conn);
        self.session.locks(|locks| locks.wait_no_more(&self.acquire.lock));
        let waited = self.began.elapsed();
        if self.waited {
            telemetry::metrics::lock_waited(matches!(outcome, Ok(Locked::Held(_))), waited);
        }
        self.span
            .record("lock.waited_ms", waited.as_millis() as i64)
            .record("lock.retries", i64::from(self.asked.saturating_sub(1)));
        let answers = self.wait.answers();
        match outcome {
            Ok(Locked::Held(held)) if self.session.is_in_a_room() => {
                self.span.record("lock.fence", held.fence as i64);
                answers.into_iter().for_each(|answer| answer.send(&translate::answer::lock(&held)));
                hold(&self.session, held, self.interest);
            }
            // It left while it was granted.
            Ok(Locked::Held(_)) => {
                self.give_up();
                refuse(answers, &not_joined());
            }
            Ok(Locked::Taken(holder) | Locked::Withdrawn(Some(holder)) | Locked::Waits { holder, .. }) => {
                let fault = Fault::new(Code::LockHeld, "another connection holds the lock");
                answers
                    .into_iter()
                    .for_each(|answer| answer.refuse_with(&fault, &translate::answer::lock_held(&fault, &holder)));
            }
            Ok(Locked::Withdrawn(None) | Locked::Overtaken) => {
                refuse(answers, &Fault::new(Code::LockHeld, "the lock could not be had in time"));
            }
            // It may hold the lock or stand in line, and no one here knows of it.
            Err(fault) => {
                self.give_up();
                refuse(answers, &fault);
            }
            other => refuse(answers, &refusal(other)),
        }
    }

    fn give_up(self) {
        let withdraw = Command::Lock(self.withdrawal(false));
        self.session.gateway.pending_leaves.send(withdraw, None, TraceContext::default());
    }
}

fn refuse(answers: Vec<Answer>, fault: &Fault) {
    answers.into_iter().for_each(|answer| answer.refuse(fault));
}

/// Keeps a lock in mind until it is let go, and has it ended when its time is over.
pub(super) fn hold(session: &Arc<Session>, held: Held, interest: LockSubscription) {
    let lock = held.lock.clone();
    if !session.locks(|locks| locks.hold(held, interest)) {
        return;
    }
    let session = Arc::downgrade(session);
    tokio::spawn(async move {
        loop {
            let Some(session) = session.upgrade() else { return };
            let now_ms = session.gateway.bus.redis_now_ms();
            let left = match session.locks(|locks| locks.expire(&lock, now_ms)) {
                Time::Gone => return,
                Time::Left(left) => left,
                Time::Over => {
                    let expire = Command::Lock(Lock::Expire { room: lock.channel.name.clone() });
                    return session.gateway.pending_leaves.send(expire, None, TraceContext::default());
                }
            };
            drop(session);
            sleep(Duration::from_millis(left) + AFTER_EXPIRY).await;
        }
    });
}

pub(super) async fn call(session: &Session, lock: Lock, span: &Span) -> Result<Locked, Fault> {
    let reply = session.gateway.bus.call(&Command::Lock(lock), TraceContext::of(span)).await?;
    match &*reply.outcome {
        Outcome::Lock(locked) => Ok(locked.clone()),
        _ => Err(Fault::unexpected()),
    }
}

pub(super) fn refusal(outcome: Result<Locked, Fault>) -> Fault {
    match outcome {
        Err(fault) => fault,
        Ok(Locked::Lost) => Fault::new(Code::LockLost, "this socket does not hold the lock under that fence"),
        Ok(Locked::Full) => Fault::new(Code::Overloaded, "too many locks, or too many who wait, in this channel"),
        Ok(_) => Fault::unexpected(),
    }
}
