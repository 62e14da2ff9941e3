//! A long way to Redis: what a client sends arrives late, what Redis answers does not.

use std::{
    io::{Read as _, Write as _, copy},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// The URL of the server at `url`, over the long way.
pub(crate) fn long(url: &str, delay: Duration) -> String {
    let server = url.trim_start_matches("redis://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            carry(client.unwrap(), TcpStream::connect(&server).unwrap(), delay);
        }
    });
    format!("redis://{address}")
}

/// Until either side hangs up; then the other one hears of it.
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
