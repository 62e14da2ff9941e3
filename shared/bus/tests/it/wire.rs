//! Ways to Redis: a long one, on which what a client sends arrives late and what Redis answers does not; and one that can
//! lead to another server, as an address does when a server begins again.

use std::{
    io::{Read as _, Write as _, copy},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// The URL of the server at `url`, over the long way.
pub(crate) fn long(url: &str, delay: Duration) -> String {
    let server = authority(url);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            carry(client.unwrap(), TcpStream::connect(&server).unwrap(), delay);
        }
    });
    format!("redis://{address}")
}

/// An address that leads to one server, and then to another.
pub(crate) struct Address {
    pub(crate) url: String,
    way: Arc<Mutex<Way>>,
}

struct Way {
    server: String,
    /// Both ends of each connection.
    open: Vec<TcpStream>,
}

impl Address {
    pub(crate) fn of(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(Mutex::new(Way { server: authority(url), open: Vec::new() }));
        let ways = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming().map(Result::unwrap) {
                let mut way = ways.lock().unwrap();
                let server = TcpStream::connect(&way.server).unwrap();
                way.open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                drop(way);
                carry(client, server, Duration::ZERO);
            }
        });
        Self { url: format!("redis://{address}"), way }
    }

    /// New connections lead to another server; those that are open stay.
    pub(crate) fn lead_newcomers_to(&self, url: &str) {
        self.way.lock().unwrap().server = authority(url);
    }

    /// Leads to another server from now on; connections to the one before are closed.
    pub(crate) fn lead_to(&self, url: &str) {
        let mut way = self.way.lock().unwrap();
        way.server = authority(url);
        for end in way.open.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn authority(url: &str) -> String {
    url.trim_start_matches("redis://").to_owned()
}

/// Until either side hangs up; then the other one is closed too.
fn carry(client: TcpStream, server: TcpStream, delay: Duration) {
    server.set_nodelay(true).unwrap();
    client.set_nodelay(true).unwrap();
    let (sender, under_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (mut from_server, mut to_client) = (server, client);
    thread::spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_client.read(&mut bytes) {
            let _ = sender.send((Instant::now() + delay, bytes[..count].to_vec()));
        }
    });
    thread::spawn(move || {
        for (due, bytes) in under_way {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let _ = to_server.write_all(&bytes);
        }
        let _ = to_server.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let _ = copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
}
