//! A Redis that refuses: what is logged about it.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use fred::interfaces::ClientLike as _;
use rollcall_protocol::{Code, command::lock::Acquire};

use crate::site::{GATEWAY, Site, join};

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(text).count()
    }
}

/// Takes writes while it has this many replicas.
async fn demand_replicas(site: &Site, count: &str) {
    let () = site.redis().custom(fred::cmd!("CONFIG"), vec!["SET", "min-replicas-to-write", count]).await.unwrap();
}

/// With every write it is away, and with every read it is back.
#[tokio::test]
async fn a_redis_that_refuses_writes_and_answers_reads_is_logged_once_in_ten_seconds() {
    let site = Site::open().await;
    site.join(join("a", "ann", 1)).await;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _default = tracing::subscriber::set_default(subscriber);
    demand_replicas(&site, "1").await;
    for op in 1..=20 {
        let acquire = Acquire {
            lock: site.lock("l"),
            user: "ann".into(),
            conn: "a".into(),
            gateway: GATEWAY.into(),
            op,
            ttl_ms: 10_000,
            wait_ms: 0,
        };
        let fault = site.store.acquire(site.caller(), &acquire).await.unwrap_err();
        assert_eq!(fault.code, Code::Unavailable, "{fault}");
        assert_eq!(site.snapshot().await.members.len(), 1);
    }
    assert_eq!(lines.count("Redis refuses commands; clients are answered"), 1);
    assert_eq!(lines.count("Redis answers again"), 1, "what was not logged does not end");
}
