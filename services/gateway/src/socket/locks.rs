//! What a session's work does for `lock:*`. What takes a lock is in `acquire`.

use std::sync::Arc;

use protocol::{
    RoomId,
    client::{DONE, LockAsk},
    command::{
        Command,
        lock::{DropAll, Lock, Locked, Release, Renew},
    },
};
use telemetry::propagation::TraceContext;

use super::{
    acquire::{acquire, call, hold, refusal},
    answer::Answer,
    session::Session,
};
use crate::translate;

pub(super) async fn carry_out(session: &Arc<Session>, ask: LockAsk, answer: Answer) {
    match ask {
        LockAsk::Acquire { lock, ttl_ms, wait_ms } => acquire(session, lock, ttl_ms, wait_ms, answer).await,
        LockAsk::Renew { lock, fence, ttl_ms } => {
            let renew = Renew { lock, conn: session.conn.clone(), fence, ttl_ms };
            match call(session, Lock::Renew(renew), answer.span()).await {
                Ok(Locked::Held(held)) => {
                    let span = answer.span().clone();
                    answer.send(&translate::answer::lock(&held));
                    // Its time seemed to be over here, and was not.
                    if !session.locks(|locks| locks.renewed(&held))
                        && let Ok(interest) = session.gateway.relay.listen(&held.lock.channel.name, &span).await
                    {
                        hold(session, held, interest);
                    }
                }
                other => answer.refuse(&refusal(other)),
            }
        }
        LockAsk::Release { lock, fence } => {
            session.locks(|locks| locks.let_go(&lock, fence));
            let (conn, op) = (session.conn.clone(), session.next_op_number());
            let release = Lock::Release(Release { lock, conn, op, fence });
            match call(session, release.clone(), answer.span()).await {
                Ok(Locked::Done) => answer.send(&DONE),
                outcome => {
                    // Without an answer it may have happened or not; its client wants it to, so it is repeated until it has.
                    if outcome.is_err() {
                        let trace = TraceContext::of(answer.span());
                        session.gateway.pending_leaves.send(Command::Lock(release), None, trace);
                    }
                    answer.refuse(&refusal(outcome));
                }
            }
        }
        LockAsk::Get { channel, name } => match call(session, Lock::Get { channel, name }, answer.span()).await {
            Ok(Locked::List(locks)) => answer.send(&translate::answer::locks(&locks)),
            other => answer.refuse(&refusal(other)),
        },
    }
}

/// The socket leaves its room, or is gone: what it holds elsewhere ends too. What it holds in the room, and its places in
/// line there, end with its record.
pub(super) fn leave(session: &Arc<Session>, own: Option<&RoomId>) {
    for room in session.locks(|locks| locks.drop_all(&session.conn)).into_iter().filter(|room| own != Some(room)) {
        let (conn, op) = (session.conn.clone(), session.next_op_number());
        let drop = Command::Lock(Lock::Drop(DropAll { room, conn, op }));
        session.gateway.pending_leaves.send(drop, None, TraceContext::default());
    }
}
