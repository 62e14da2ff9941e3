//! Takes traces, metrics and logs and throws them away, so that the services export as they would in production. Its CPU belongs to the load side.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path};
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use tokio::net::TcpListener;

/// A running sink; it ends with the runtime.
pub(crate) struct Sink {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    exports: Arc<AtomicU64>,
}

impl Sink {
    /// Starts a sink on a free port.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let exports = Arc::new(AtomicU64::new(0));
        let counter = exports.clone();
        let accept = move |Path(path): Path<String>, _: Bytes| async move {
            if path.ends_with("traces") {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            // An empty body is a valid answer: a protobuf message with nothing set.
            [(CONTENT_TYPE, "application/x-protobuf")]
        };
        // As a collector, and as the stores behind one, which have paths of their own.
        let router = Router::new().route("/{*path}", post(accept)).layer(DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, exports })
    }

    /// How many batches of spans came in so far.
    pub(crate) fn exports(&self) -> u64 {
        self.exports.load(Ordering::Relaxed)
    }
}
