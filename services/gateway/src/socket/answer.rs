//! The acknowledgement of an event. An answer that finds the socket's queue full is owed: it is tried again until there
//! is room. A client that takes none for too long, or is owed too many, is closed, so that it knows that it knows nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{Fault, client::Rejection};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use socketioxide::{
    SendError, SocketError,
    extract::AckSender,
    handler::{FromMessageParts as _, Value},
};
use telemetry::{
    heartbeat::Beat,
    metrics::{self, Operation},
};
use tokio::time::sleep;
use tracing::Span;

use super::session::Session;

/// Answers that one socket may be owed: more than a client can have asked for in a burst of its largest buffers.
const OWED: usize = 8_192;
const RETRY_EVERY: Duration = Duration::from_millis(20);
/// Tries without any room, ten seconds, after which the socket is closed.
const TRIES: u32 = 500;

/// Where the answer of one event goes, and the span that it ends.
pub(crate) struct Answer {
    session: Arc<Session>,
    ack_id: Option<i64>,
    span: Span,
    /// In place of the span while a heartbeat may be answered on the spot.
    beat: Option<Beat>,
    operation: Operation,
    began: Instant,
}

impl Answer {
    pub(crate) fn new(session: Arc<Session>, ack_id: Option<i64>, span: Span, operation: Operation) -> Self {
        Self { session, ack_id, span, beat: None, operation, began: Instant::now() }
    }

    /// The answer of a heartbeat that may be given on the spot. `beat` traces it.
    pub(crate) fn at_once(session: Arc<Session>, ack_id: Option<i64>, beat: Option<Beat>) -> Self {
        Self { beat, ..Self::new(session, ack_id, Span::none(), Operation::Heartbeat) }
    }

    /// It cannot be given on the spot.
    pub(crate) fn later(mut self) -> Self {
        if let Some(beat) = self.beat.take() {
            self.span = beat.in_full();
        }
        self
    }

    /// What traces a heartbeat that may be answered on the spot.
    pub(crate) fn beat(&mut self) -> Option<&mut Beat> {
        self.beat.as_mut()
    }

    /// The event's span.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Answers. An event without an acknowledgement has acted all the same.
    pub(crate) fn send(mut self, answer: &impl Serialize) {
        metrics::operation(self.operation, self.began.elapsed());
        self.acknowledge(answer);
        if let Some(beat) = self.beat.take() {
            beat.end();
        }
    }

    fn acknowledge(&self, answer: &impl Serialize) {
        let Some(ack_id) = self.ack_id else { return };
        if acknowledge(&self.session, ack_id, answer) {
            return;
        }
        match to_raw_value(answer) {
            Ok(answer) => owe(&self.session, ack_id, answer),
            Err(_) => self.session.doom("an answer could not be kept"),
        }
    }

    /// Refuses.
    pub(crate) fn refuse(self, fault: &Fault) {
        self.refuse_with(fault, &Rejection::from(fault));
    }

    /// Refuses with an answer that says more.
    pub(crate) fn refuse_with(mut self, fault: &Fault, answer: &impl Serialize) {
        metrics::error(self.operation.name(), fault.code.as_str());
        telemetry::span::fail(&self.span, fault.code.as_str(), &fault.message);
        if let Some(beat) = &mut self.beat {
            beat.fail(fault.code.as_str(), &fault.message);
        }
        self.send(answer);
    }
}

/// Sends an acknowledgement; says whether there was room for it.
fn acknowledge(session: &Session, ack_id: i64, answer: &impl Serialize) -> bool {
    let Some(socket) = session.socket() else { return true };
    let Ok(ack) = AckSender::from_message_parts(&socket, &mut Value::Str("".into(), None), &Some(ack_id));
    !matches!(ack.send(answer), Err(SendError::Socket(SocketError::InternalChannelFull)))
}

fn owe(session: &Arc<Session>, ack_id: i64, answer: Box<RawValue>) {
    let owed = session.owe(ack_id, answer);
    if owed > OWED {
        session.doom("too many answers wait for it");
    } else if owed == 1 {
        tokio::spawn(pay(Arc::clone(session)));
    }
}

async fn pay(session: Arc<Session>) {
    let mut tries = 0;
    while tries < TRIES {
        match session.first_owed() {
            None => return,
            Some((ack_id, answer)) if acknowledge(&session, ack_id, &answer) => {
                tries = 0;
                if session.paid() == 0 {
                    return;
                }
            }
            Some(_) => {
                tries += 1;
                sleep(RETRY_EVERY).await;
            }
        }
    }
    session.doom("it took no answer");
}
