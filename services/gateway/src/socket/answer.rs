//! The acknowledgement of an event. An answer that finds the socket's queue full is not lost in silence: the socket is
//! closed, so that its client knows that it knows nothing.

use std::sync::Arc;

use protocol::{Fault, client::Refusal};
use serde::Serialize;
use socketioxide::{SendError, SocketError, extract::AckSender};
use tracing::Span;

use super::session::Session;

/// Where the answer of one event goes, and the span that it ends.
pub(crate) struct Answer {
    session: Arc<Session>,
    ack: AckSender,
    span: Span,
}

impl Answer {
    pub(crate) fn new(session: Arc<Session>, ack: AckSender, span: Span) -> Self {
        Self { session, ack, span }
    }

    /// The event's span.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Answers.
    pub(crate) fn send(self, answer: &impl Serialize) {
        if let Err(SendError::Socket(SocketError::InternalChannelFull)) = self.ack.send(answer) {
            self.session.doom("an answer did not fit its queue");
        }
    }

    /// Refuses.
    pub(crate) fn refuse(self, fault: &Fault) {
        telemetry::span::fail(&self.span, fault.code.as_str(), &fault.message);
        self.send(&Refusal::from(fault));
    }
}
