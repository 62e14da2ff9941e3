//! The HTTP client of a signal. reqwest's own TLS would need a crypto provider for the whole process, so the configuration is made
//! here. The exporter reports only "network error"; the reason is passed on from here.

use std::{error::Error, fmt, sync::Arc};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::blocking;
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::settings::{Signal, of_process};

/// Sends requests, and reports how each ended: `Err` with the reason.
pub(super) struct Client<F> {
    http: blocking::Client,
    ended: F,
}

impl<F: Fn(Result<(), String>) + Send + Sync> Client<F> {
    /// A client with the settings of a signal.
    pub(super) fn new(signal: Signal, ended: F) -> Result<Self, Box<dyn Error>> {
        let variables = of_process();
        let mut roots = RootCertStore::empty();
        if variables.is_tls(signal) {
            let named = variables.certificates(signal);
            let trusted = if named.is_empty() { rustls_native_certs::load_native_certs().certs } else { named };
            roots.add_parsable_certificates(trusted);
            if roots.is_empty() {
                return Err("this system trusts no certificates; name some with OTEL_EXPORTER_OTLP_CERTIFICATE or SSL_CERT_FILE".into());
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http =
            blocking::Client::builder().timeout(variables.timeout(signal)).tls_backend_preconfigured(tls).build()?;
        Ok(Self { http, ended })
    }
}

impl<F> fmt::Debug for Client<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl<F: Fn(Result<(), String>) + Send + Sync> HttpClient for Client<F> {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.http.send_bytes(request).await;
        (self.ended)(match &sent {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("the collector answered {}", response.status())),
            Err(error) => Err(reason(&**error)),
        });
        sent
    }
}

/// The innermost error: that of the system, of TLS or of HTTP.
fn reason(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
