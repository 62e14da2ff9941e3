//! The acknowledgement of one event of a client, with the span and the metrics of that event.

use std::{sync::Arc, time::Instant};

use protocol::{Fault, client::Rejection};
use serde::Serialize;
use telemetry::{
    heartbeat::HeartbeatSpan,
    metrics::{self, Operation},
};
use tracing::Span;

use super::outlet::Outlet;

/// Where the answer of one event goes, and the span that it ends.
pub(crate) struct Ack {
    outlet: Arc<Outlet>,
    ack_id: Option<i64>,
    span: Span,
    /// In place of the span while a heartbeat may be answered on the spot.
    beat: Option<HeartbeatSpan>,
    operation: Operation,
    began: Instant,
}

impl Ack {
    pub(super) fn new(outlet: Arc<Outlet>, ack_id: Option<i64>, span: Span, operation: Operation) -> Self {
        Self { outlet, ack_id, span, beat: None, operation, began: Instant::now() }
    }

    /// Of a heartbeat that may be answered on the spot. `beat` traces it.
    pub(super) fn at_once(outlet: Arc<Outlet>, ack_id: Option<i64>, beat: Option<HeartbeatSpan>) -> Self {
        Self { beat, ..Self::new(outlet, ack_id, Span::none(), Operation::Heartbeat) }
    }

    /// The event cannot be answered on the spot.
    pub(super) fn later(mut self) -> Self {
        if let Some(beat) = self.beat.take() {
            self.span = beat.into_tracing();
        }
        self
    }

    /// What traces a heartbeat that may be answered on the spot.
    pub(super) fn beat(&mut self) -> Option<&mut HeartbeatSpan> {
        self.beat.as_mut()
    }

    /// The event's span.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Answers. An event without an acknowledgement has acted all the same.
    pub(crate) fn send(mut self, answer: &impl Serialize) {
        metrics::operation(self.operation, self.began.elapsed());
        if let Some(ack_id) = self.ack_id {
            self.outlet.acknowledge(ack_id, answer);
        }
        if let Some(beat) = self.beat.take() {
            beat.end();
        }
    }

    /// Refuses.
    pub(super) fn refuse(self, fault: &Fault) {
        self.refuse_with(fault, &Rejection::from(fault));
    }

    /// Refuses with an answer that says more.
    pub(super) fn refuse_with(mut self, fault: &Fault, answer: &impl Serialize) {
        metrics::error(self.operation.name(), fault.code.as_str());
        telemetry::span::fail(&self.span, fault.code.as_str(), &fault.message);
        if let Some(beat) = &mut self.beat {
            beat.fail(fault.code.as_str(), &fault.message);
        }
        self.send(answer);
    }
}
