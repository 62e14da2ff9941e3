//! How a request body of our own ([`encode`](super::encode)) leaves by the SDK's exporter, which knows the address, the
//! headers, when to try again, and what an answer means: it is given an empty batch, and where it would send that, this
//! is sent instead.

use std::{env, pin::Pin, sync::Arc, time::Duration};

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
};
use parking_lot::Mutex;
use reqwest::blocking::Client;

/// What the next request carries.
#[derive(Debug, Clone, Default)]
pub(super) struct Body(Arc<Mutex<Bytes>>);

impl Body {
    pub(super) fn set(&self, bytes: Vec<u8>) {
        *self.0.lock() = bytes.into();
    }

    fn get(&self) -> Bytes {
        self.0.lock().clone()
    }
}

/// The client of the SDK's exporter of spans.
#[derive(Debug)]
pub(super) struct Replacing {
    client: Client,
    body: Body,
}

impl Replacing {
    /// A client that sends `body`, whatever it is asked to send. Not to be made on a runtime.
    pub(super) fn with(body: Body) -> reqwest::Result<Self> {
        Ok(Self { client: Client::builder().timeout(timeout()).build()?, body })
    }
}

impl HttpClient for Replacing {
    fn send_bytes<'client, 'sent>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
    where
        'client: 'sent,
    {
        self.client.send_bytes(request.map(|_| self.body.get()))
    }
}

/// How long one try may take: as the SDK reads it for a client of its own.
fn timeout() -> Duration {
    [OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT]
        .iter()
        .find_map(|name| env::var(name).ok()?.parse().ok())
        .map_or(OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, Duration::from_millis)
}
