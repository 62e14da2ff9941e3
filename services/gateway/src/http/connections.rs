//! The list of the TCP connections, so that they can be counted, and so that a gateway that stops can close them one by one: if the
//! connection is closed rather than the Socket.IO session, clients reconnect by themselves.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    os::fd::{AsRawFd as _, RawFd},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::sys::socket::{Shutdown, shutdown};
use parking_lot::{Mutex, MutexGuard};
use socketioxide::socket::Sid;
use tokio::{net::TcpStream, time::sleep};

use super::address::{CountByAddress, CountedAddress, Source};
use crate::flow::Flow;

/// The steps in which all connections are closed.
const STEPS: u32 = 100;

/// The open connections by number, at most so many. A connection is listed only while its descriptor is open: its [`Listing`] is
/// dropped before the descriptor is closed. The default takes none.
#[derive(Default)]
pub(crate) struct Open {
    listed: Mutex<Listed>,
    next: AtomicU64,
    most: usize,
    /// Connections that are not the WebSocket of a session, and the most of them that an address may have. WebSockets are
    /// limited as sessions.
    of_address: CountByAddress,
    most_of_address: usize,
}

#[derive(Default)]
struct Listed {
    connections: HashMap<u64, Entry>,
    /// The first WebSocket of each session. A session may have one; a client that opens more keeps them in its address' count.
    websockets: HashMap<Sid, u64>,
    /// Sessions for which a client opened more. Only they are looked for among all connections.
    doubled: HashSet<Sid>,
}

impl Listed {
    /// All connections of a session. O(connections).
    fn of_session(&self, session: Sid) -> impl Iterator<Item = &Entry> {
        self.connections.values().filter(move |entry| entry.session == Some(session))
    }
}

struct Entry {
    descriptor: RawFd,
    flow: Arc<OnceLock<Arc<Flow>>>,
    /// The session whose WebSocket it is.
    session: Option<Sid>,
    /// Counts it for its address.
    counted: Option<CountedAddress>,
}

impl Entry {
    fn close(&self) {
        // First: a connection that is not read from would not notice that it is closed.
        self.flow.get().into_iter().for_each(|flow| flow.end());
        let _ = shutdown(self.descriptor, Shutdown::Both);
    }
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooMany {
    /// All connections.
    InAll,
    /// Those of its address.
    OfAddress,
}

impl Open {
    /// No connections yet, and never more than `most`, of one address `most_of_address` without WebSockets.
    pub(crate) fn new(most: usize, most_of_address: usize) -> Arc<Self> {
        let of_address = CountByAddress::default();
        Arc::new(Self { most, of_address, most_of_address, ..Self::default() })
    }

    /// Lists a connection, whose bytes belong to `flow` once that is set. Without a source it counts for no address.
    pub(super) fn add(
        self: &Arc<Self>,
        stream: &TcpStream,
        flow: Arc<OnceLock<Arc<Flow>>>,
        source: Option<Source>,
    ) -> Result<Listing, TooMany> {
        let mut listed = self.lock();
        if listed.connections.len() >= self.most {
            return Err(TooMany::InAll);
        }
        let counted = source.map(|source| self.of_address.one_more_up_to(self.most_of_address, source));
        if matches!(counted, Some(None)) {
            return Err(TooMany::OfAddress);
        }
        let connection = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { descriptor: stream.as_raw_fd(), flow, session: None, counted: counted.flatten() };
        listed.connections.insert(connection, entry);
        drop(listed);
        Ok(Listing { open: Arc::clone(self), connection })
    }

    /// The share of the most connections that is open.
    pub(crate) fn used(&self) -> f64 {
        self.lock().connections.len() as f64 / self.most as f64
    }

    /// Closes all connections, including those that come meanwhile, evenly over `window`. Returns early when none is left and no
    /// session `is_left`, which may be between two polls.
    pub(crate) async fn close_over(&self, window: Duration, is_left: impl Fn() -> bool) {
        for step in 0..STEPS {
            self.close_up_to(step);
            if self.lock().connections.is_empty() && !is_left() {
                return;
            }
            sleep(window / STEPS).await;
        }
    }

    /// Closes every connection.
    pub(crate) fn close_all(&self) {
        self.close_up_to(STEPS);
    }

    fn close_up_to(&self, step: u32) {
        self.lock().connections.iter().filter(|(id, _)| step_of(**id) <= step).for_each(|(_, entry)| entry.close());
    }

    /// Records that a connection is the WebSocket of a session.
    pub(super) fn record_websocket(&self, connection: u64, session: Sid) {
        let mut listed = self.lock();
        let Listed { connections, websockets, doubled } = &mut *listed;
        let Some(entry) = connections.get_mut(&connection) else { return };
        entry.session = Some(session);
        if *websockets.entry(session).or_insert(connection) == connection {
            entry.counted = None;
        } else {
            doubled.insert(session);
        }
    }

    /// Records that a connection is a WebSocket, and whose bytes it carries.
    pub(super) fn carry(&self, connection: u64, flow: Arc<Flow>) {
        if let Some(entry) = self.lock().connections.get(&connection) {
            let _ = entry.flow.set(flow);
        }
    }

    /// Closes the WebSockets of a session. Many sessions may end at once, when the token that they share is revoked.
    pub(super) fn close_session(&self, session: Sid) {
        let listed = self.lock();
        if listed.doubled.contains(&session) {
            listed.of_session(session).for_each(Entry::close);
        } else if let Some(first) = listed.websockets.get(&session) {
            listed.connections.get(first).into_iter().for_each(Entry::close);
        }
    }

    fn remove(&self, connection: u64) {
        let mut listed = self.lock();
        let Some(session) = listed.connections.remove(&connection).and_then(|entry| entry.session) else { return };
        if listed.websockets.get(&session) == Some(&connection) {
            listed.websockets.remove(&session);
        }
        if listed.doubled.contains(&session) && listed.of_session(session).next().is_none() {
            listed.doubled.remove(&session);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock()
    }
}

/// The step in which a connection is closed. The number is multiplied to spread a few consecutive connections as well.
fn step_of(id: u64) -> u32 {
    (id.wrapping_mul(61) % u64::from(STEPS)) as u32
}

/// A connection's listing.
pub(super) struct Listing {
    open: Arc<Open>,
    connection: u64,
}

impl Listing {
    /// The connection's number.
    pub(super) fn connection(&self) -> u64 {
        self.connection
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.open.remove(self.connection);
    }
}

/// The address at the other end of a connection and the connection's number, for handlers.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) connection: u64,
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::{net::TcpListener, time::Instant};

    use super::*;

    #[tokio::test]
    async fn connections_are_bounded_and_websockets_do_not_count_for_their_address() {
        let open = Open::new(4, 2);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = Source::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let add = async |source| {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            open.add(&stream, Arc::default(), source).map(|place| (place, stream))
        };
        let first = add(Some(source)).await.unwrap();
        let second = add(Some(source)).await.unwrap();
        assert_eq!(add(Some(source)).await.err(), Some(TooMany::OfAddress));
        open.record_websocket(first.0.connection(), Sid::ZERO);
        // One session frees one place, however many WebSockets it opens.
        open.record_websocket(second.0.connection(), Sid::ZERO);
        assert!(open.lock().doubled.contains(&Sid::ZERO), "both are closed with the session");
        let third = add(Some(source)).await.unwrap();
        assert_eq!(add(Some(source)).await.err(), Some(TooMany::OfAddress));
        let proxy = add(None).await.unwrap();
        assert_eq!(add(None).await.err(), Some(TooMany::InAll));
        drop((first, second, third, proxy));
        let listed = open.lock();
        assert!(listed.websockets.is_empty() && listed.doubled.is_empty() && listed.connections.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn closing_is_over_when_neither_connections_nor_sessions_are_left() {
        let open = Open::new(8, 8);
        let begun = Instant::now();
        open.close_over(Duration::from_secs(2), || begun.elapsed() < Duration::from_millis(500)).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(500));
        open.close_over(Duration::from_secs(2), || true).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(2500));
    }
}
