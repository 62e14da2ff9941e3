//! The acknowledgement of an event. An answer that finds the socket's queue full is owed: it is tried again until there
//! is room. A client that takes none for too long, or is owed too many, is closed, so that it knows that it knows nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{Fault, client::Refusal};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use socketioxide::{
    SendError, SocketError,
    extract::AckSender,
    handler::{FromMessageParts as _, Value},
};
use telemetry::metrics::{self, Operation};
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
    operation: Operation,
    began: Instant,
}

impl Answer {
    pub(crate) fn new(session: Arc<Session>, ack_id: Option<i64>, span: Span, operation: Operation) -> Self {
        Self { session, ack_id, span, operation, began: Instant::now() }
    }

    /// The event's span.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Answers. An event without an acknowledgement has acted all the same.
    pub(crate) fn send(self, answer: &impl Serialize) {
        metrics::operation(self.operation, self.began.elapsed());
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
        self.refuse_with(fault, &Refusal::from(fault));
    }

    /// Refuses with an answer that says more.
    pub(crate) fn refuse_with(self, fault: &Fault, answer: &impl Serialize) {
        metrics::error(self.operation.name(), fault.code.as_str());
        telemetry::span::fail(&self.span, fault.code.as_str(), &fault.message);
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
