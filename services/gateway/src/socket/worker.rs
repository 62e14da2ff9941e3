//! Carries out the operations of a session in order, one at a time. The task exists only as long as there are operations.

use std::sync::Arc;

use rollcall_protocol::{
    Code, Fault,
    client::{DONE, Request},
};
use rollcall_telemetry::{
    metrics::{self, Refusal},
    propagation::TraceContext,
};
use tracing::Span;

use super::{
    ack::Ack,
    client::Client,
    op::Op,
    verbs::{auth, heartbeat, join, leave, locks, metadata},
};
use crate::liveness;

impl Client {
    /// Takes a valid event of the client: answers a plain heartbeat at once, and queues everything else.
    pub(super) fn accept(self: &Arc<Self>, request: Request, mut ack: Ack) {
        if let Request::Heartbeat { epoch, patch: None } = &request
            && self.session.is_idle()
            && !self.outlet.flow().is_blocked()
        {
            let trace = |epoch| drop(ack.heartbeat().map(|span| span.accept(epoch)));
            match self.plain_heartbeat(*epoch, trace) {
                Some(Ok(done)) => return ack.send(&done),
                Some(Err(fault)) => return ack.reject(&fault),
                None => {}
            }
        }
        match self.session.push_event(request, ack.deferred()) {
            Ok(starts) => self.start(starts),
            Err(ack) => {
                metrics::refused(Refusal::Queue);
                ack.reject(&Fault::new(Code::Overloaded, "too many events are waiting; slow down"));
            }
        }
    }

    /// The socket closed. Idempotent. Events that the client sent before are carried out first.
    pub(super) fn closed(self: &Arc<Self>, transport: &'static str, reason: &'static str) {
        if !self.outlet.end() {
            return;
        }
        let lived = self.connected_at.elapsed();
        metrics::connection_ended(transport, reason, lived);
        let lived_ms = lived.as_millis() as u64;
        let span = match self.outlet.flow().owes() {
            false => rollcall_telemetry::span::socket_disconnect(self.conn.as_str(), transport, reason, lived_ms),
            true => Span::none(),
        };
        self.connect_trace.link(&span);
        self.push(Op::Closed(TraceContext::of(&span)));
    }

    /// Members were sent a leave although the client is connected; its record was at `op`. This is called under the room's lock,
    /// so the locks that ended with the record are cleaned up later, by the session's worker.
    pub(crate) fn evicted(self: &Arc<Self>, op: u64) {
        if let Some((room, taken)) = self.session.evict(op) {
            self.gateway.reassert.restore(&room);
            self.push(Op::Evicted(taken));
        }
    }

    pub(super) fn push(self: &Arc<Self>, op: Op) {
        self.start(self.session.push(op));
    }

    fn start(self: &Arc<Self>, starts: bool) {
        if starts {
            tokio::spawn(work(Arc::clone(self)));
        }
    }
}

impl liveness::Client for Client {
    fn last_event_ms(&self) -> u64 {
        Client::last_event_ms(self)
    }

    fn fell_silent(self: Arc<Self>) {
        self.start(self.session.push_expiry());
    }
}

async fn work(client: Arc<Client>) {
    let guard = Guard(&client);
    while let Some(op) = client.session.next() {
        // Nothing is carried out whose answer would only wait. A client that takes nothing is closed, and then all is.
        client.outlet.writable().await;
        carry_out(&client, op).await;
    }
    // Idle: the next push starts another worker.
    std::mem::forget(guard);
}

/// If a worker panics, the session stays busy without a worker, and the client gets no answer. So the client is closed, and
/// another worker carries out what is left, at least the end of the session.
struct Guard<'a>(&'a Arc<Client>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // If it is dropped without a panic, the process is ending.
        if std::thread::panicking() {
            tracing::error!(conn = %self.0.conn, "operation panicked; closing its client");
            self.0.outlet.close();
            self.0.start(true);
        }
    }
}

async fn carry_out(client: &Arc<Client>, op: Op) {
    match op {
        Op::Request(request, ack) => match client.permit(&request) {
            Ok(()) => answer(client, request, ack).await,
            Err(fault) => ack.reject(&fault),
        },
        Op::Expire => leave::expire(client),
        Op::Evicted(taken) => locks::give_up(client, taken),
        Op::Closed(trace) => {
            // Dropped last, even if this panics.
            let _count = client.session.end();
            leave::closed(client, trace);
        }
        #[cfg(test)]
        Op::Panic => panic!("on purpose"),
    }
}

/// Answers what the client may ask for.
async fn answer(client: &Arc<Client>, request: Request, ack: Ack) {
    match request {
        // Boxed: it is large and rare, and would enlarge the future of every patch.
        Request::Join { room, user, state } => {
            Box::pin(join::join(client, room, user, state, ack)).await;
        }
        Request::Heartbeat { epoch, patch } => match heartbeat::heartbeat(client, epoch, patch, ack.span()).await {
            Ok(done) => ack.send(&done),
            Err(fault) => ack.reject(&fault),
        },
        Request::Leave => match leave::leave(client, ack.span()).await {
            Ok(()) => ack.send(&DONE),
            Err(fault) => ack.reject(&fault),
        },
        Request::Metadata(asked) => {
            let (channel, ask) = *asked;
            Box::pin(metadata::carry_out(client, channel, ask, ack)).await;
        }
        Request::Lock(ask) => Box::pin(locks::carry_out(client, *ask, ack)).await,
        Request::Refresh(token) => Box::pin(auth::refresh(client, token, ack)).await,
    }
}
