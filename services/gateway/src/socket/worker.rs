//! Does what sessions have to do, for each in order: while one thing is under way the next ones wait in its queue. A task
//! exists only as long as there is something to do.

use std::sync::Arc;

use protocol::{
    Code, Fault,
    client::{DONE, Request},
};
use telemetry::{metrics, propagation::TraceContext};

use super::{
    ack::Ack,
    client::Client,
    op::Op,
    verbs::{heartbeat, join, leave, locks, metadata},
};
use crate::liveness;

impl Client {
    /// An event of the client, checked.
    pub(super) fn accept(self: &Arc<Self>, request: Request, mut ack: Ack) {
        if let Request::Heartbeat { epoch, patch: None } = &request
            && self.session.is_idle()
        {
            let trace = |epoch| drop(ack.beat().map(|beat| beat.accept(epoch)));
            match self.plain_heartbeat(*epoch, trace) {
                Some(Ok(done)) => return ack.send(&done),
                Some(Err(fault)) => return ack.refuse(&fault),
                None => {}
            }
        }
        match self.session.push_event(request, ack.later()) {
            Ok(starts) => self.start(starts),
            Err(ack) => ack.refuse(&Fault::new(Code::Overloaded, "too many events are waiting; slow down")),
        }
    }

    /// The socket closed; called again, it does nothing. What the client sent before is still done first.
    pub(super) fn closed(self: &Arc<Self>, transport: &'static str, reason: &'static str) {
        if !self.outlet.end() {
            return;
        }
        let lived = self.connected_at.elapsed();
        metrics::connection_ended(transport, reason, lived);
        let lived_ms = lived.as_millis() as u64;
        let span = telemetry::span::socket_disconnect(self.conn.as_str(), transport, reason, lived_ms);
        self.connect_trace.link(&span);
        self.push(Op::Closed(TraceContext::of(&span)));
    }

    /// Members were told that the connection is gone although its client is here; its record stood at `op`. This is called
    /// under the room's lock, so what ends with the record ends in the session's queue.
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
        carry_out(&client, op).await;
    }
    // Idle: whoever pushes next starts another worker.
    std::mem::forget(guard);
}

/// A worker that panics leaves the session busy with no one at it, and its client without an answer: the client is closed, and
/// another worker does what is left, at least the end of the session.
struct Guard<'a>(&'a Arc<Client>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Dropped without a panic, the process ends.
        if std::thread::panicking() {
            tracing::error!(conn = %self.0.conn, "closing a client whose operation panicked");
            self.0.outlet.close();
            self.0.start(true);
        }
    }
}

async fn carry_out(client: &Arc<Client>, op: Op) {
    match op {
        // Boxed: it is large and rare, and every patch would carry room for it.
        Op::Request(Request::Join { room, user, state }, ack) => {
            Box::pin(join::join(client, room, user, state, ack)).await;
        }
        Op::Request(Request::Heartbeat { epoch, patch }, ack) => {
            match heartbeat::heartbeat(client, epoch, patch, ack.span()).await {
                Ok(done) => ack.send(&done),
                Err(fault) => ack.refuse(&fault),
            }
        }
        Op::Request(Request::Leave, ack) => match leave::leave(client, ack.span()).await {
            Ok(()) => ack.send(&DONE),
            Err(fault) => ack.refuse(&fault),
        },
        Op::Request(Request::Metadata(asked), ack) => {
            let (channel, ask) = *asked;
            Box::pin(metadata::carry_out(client, channel, ask, ack)).await;
        }
        Op::Request(Request::Lock(ask), ack) => Box::pin(locks::carry_out(client, *ask, ack)).await,
        Op::Expire => leave::expire(client),
        Op::Evicted(taken) => locks::give_up(client, taken),
        Op::Closed(trace) => {
            // Dropped last, and if this panics too.
            let _count = client.session.end();
            leave::closed(client, trace);
        }
        #[cfg(test)]
        Op::Panic => panic!("on purpose"),
    }
}
