//! A server of JWK sets that changes its mind, and counts.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::Issuer;

/// What it answers.
#[derive(Clone)]
pub(in crate::auth) enum Answer {
    /// Nothing, until there is another answer.
    Held,
    /// These bytes.
    Raw(String),
}

impl Answer {
    pub(in crate::auth) fn keys(issuers: &[&Issuer]) -> Self {
        let keys: Vec<_> = issuers.iter().map(|issuer| issuer.jwk()).collect();
        Self::ok(&json!({ "keys": keys }).to_string())
    }

    pub(in crate::auth) fn ok(body: &str) -> Self {
        Self::Raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }

    pub(in crate::auth) fn status(line: &str) -> Self {
        Self::Raw(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n"))
    }
}

/// Lives as long as its runtime.
pub(in crate::auth) struct Server {
    address: SocketAddr,
    answer: watch::Sender<Answer>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    pub(in crate::auth) async fn start(answer: Answer) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), answer).await
    }

    pub(in crate::auth) async fn at(address: SocketAddr, answer: Answer) -> Self {
        Self::bind(address, answer, None).await
    }

    pub(in crate::auth) async fn with_tls(answer: Answer, config: ServerConfig) -> Self {
        let tls = TlsAcceptor::from(Arc::new(config));
        Self::bind(SocketAddr::from(([127, 0, 0, 1], 0)), answer, Some(tls)).await
    }

    async fn bind(address: SocketAddr, answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            answer: watch::Sender::new(answer),
            requests: Arc::default(),
        };
        let (answer, requests) = (server.answer.subscribe(), Arc::clone(&server.requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answer, requests) = (tls.clone(), answer.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, answer, requests).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, answer, requests).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    pub(in crate::auth) fn url(&self) -> String {
        format!("http://{}/keys?all=1", self.address)
    }

    pub(in crate::auth) fn set(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    pub(in crate::auth) fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut answer: watch::Receiver<Answer>,
    requests: Arc<AtomicUsize>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    assert!(request.starts_with(b"GET /keys?all=1 HTTP/1.1\r\n"));
    requests.fetch_add(1, Ordering::AcqRel);
    let answer = answer.wait_for(|answer| !matches!(answer, Answer::Held)).await.map(|answer| answer.clone());
    if let Ok(Answer::Raw(text)) = answer {
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}
