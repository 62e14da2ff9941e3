//! The acknowledgement of one event of a client, with the span and the metrics of that event.

use std::{sync::Arc, time::Instant};

use rollcall_protocol::{Fault, client::Rejection};
use rollcall_telemetry::{
    heartbeat::HeartbeatSpan,
    metrics::{self, Operation},
};
use serde::Serialize;
use serde_json::value::RawValue;
use tracing::Span;

use super::outlet::Outlet;

/// Where the answer of one event goes, and the span that it ends.
pub(crate) struct Ack {
    outlet: Arc<Outlet>,
    ack_id: Option<i64>,
    span: Span,
    /// Replaces `span` while a heartbeat may be answered at once.
    heartbeat: Option<HeartbeatSpan>,
    operation: Operation,
    began: Instant,
}

impl Ack {
    pub(super) fn new(outlet: Arc<Outlet>, ack_id: Option<i64>, span: Span, operation: Operation) -> Self {
        Self { outlet, ack_id, span, heartbeat: None, operation, began: Instant::now() }
    }

    /// The acknowledgement of a heartbeat that may be answered at once.
    pub(super) fn of_heartbeat(outlet: Arc<Outlet>, ack_id: Option<i64>, heartbeat: Option<HeartbeatSpan>) -> Self {
        Self { heartbeat, ..Self::new(outlet, ack_id, Span::none(), Operation::Heartbeat) }
    }

    /// The event is not answered at once, and needs a span that can have children.
    pub(super) fn deferred(mut self) -> Self {
        if let Some(heartbeat) = self.heartbeat.take() {
            self.span = heartbeat.into_tracing();
        }
        self
    }

    /// The span of a heartbeat that may be answered at once.
    pub(super) fn heartbeat(&mut self) -> Option<&mut HeartbeatSpan> {
        self.heartbeat.as_mut()
    }

    /// The event's span.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Sends the answer, if the client asked for an acknowledgement, and ends the span.
    pub(crate) fn send(self, answer: &impl Serialize) {
        self.end(|outlet, ack_id| outlet.acknowledge(ack_id, answer));
    }

    /// The same with an answer that is encoded already.
    pub(super) fn send_encoded(self, answer: Box<RawValue>) {
        self.end(|outlet, ack_id| outlet.acknowledge_with(ack_id, answer));
    }

    fn end(mut self, send: impl FnOnce(&Arc<Outlet>, i64)) {
        metrics::operation(self.operation, self.began.elapsed());
        if let Some(ack_id) = self.ack_id {
            send(&self.outlet, ack_id);
        }
        if let Some(heartbeat) = self.heartbeat.take() {
            heartbeat.end();
        }
    }

    /// Answers with an error.
    pub(super) fn reject(self, fault: &Fault) {
        self.reject_with(fault, &Rejection::from(fault));
    }

    /// Answers with an error that has more fields. If the client is gone, nothing is sent and no error is counted.
    pub(super) fn reject_with(mut self, fault: &Fault, answer: &impl Serialize) {
        if !self.outlet.is_open() {
            return self.send(answer);
        }
        metrics::error(self.operation.name(), fault.code.as_str());
        let (code, message) = (fault.code.as_str(), &fault.message);
        match &mut self.heartbeat {
            Some(heartbeat) if fault.code.is_refusal() => heartbeat.refuse(code, message),
            Some(heartbeat) => heartbeat.fail(code, message),
            None if fault.code.is_refusal() => rollcall_telemetry::span::refuse(&self.span, code, message),
            None => rollcall_telemetry::span::fail(&self.span, code, message),
        }
        self.send(answer);
    }
}
