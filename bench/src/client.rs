//! One Socket.IO client over a raw WebSocket: connects, sends requests, hands out packets. It owns the socket and its buffers;
//! it must not know what the events mean.

pub(crate) mod frame;
pub(crate) mod packet;
pub(crate) mod scan;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use frame::{Frame, Kind};
use packet::Packet;

/// Engine.IO's own heartbeat and its answer.
const PING: &[u8] = b"2";
const PONG: &[u8] = b"3";

/// A connected client.
pub(crate) struct Client {
    reader: OwnedReadHalf,
    sender: Sender,
    /// What was read and not yet handed out is `inbox[start..end]`.
    inbox: Vec<u8>,
    start: usize,
    end: usize,
}

/// The sending side of a client. It may be used from another thread than the receiving one.
pub(crate) struct Sender {
    writer: Arc<OwnedWriteHalf>,
    next_id: u64,
    text: Vec<u8>,
    frame: Vec<u8>,
}

impl Client {
    /// Opens a WebSocket, Engine.IO and the namespace `/`.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::connect_as(address, "").await
    }

    /// The same with the JSON of `auth`, or nothing.
    pub(crate) async fn connect_as(address: SocketAddr, auth: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.into_split();
        writer.write_all(frame::handshake(&address.to_string()).as_bytes()).await?;
        let sender = Sender { writer: Arc::new(writer), next_id: 0, text: Vec::new(), frame: Vec::new() };
        let mut client = Self { reader, sender, inbox: vec![0; 2048], start: 0, end: 0 };
        client.upgraded().await?;
        client.expect(&Packet::Open).await?;
        client.sender.send_text(format!("40{auth}").as_bytes()).await?;
        client.expect(&Packet::Connected).await?;
        Ok(client)
    }

    /// Sends an event with an acknowledgement; returns its id.
    pub(crate) async fn send(&mut self, event: &str, payload: &str) -> io::Result<u64> {
        self.sender.request(event, payload).await
    }

    /// Sends an event and waits for its answer; what arrives before is not looked at.
    pub(crate) async fn call(&mut self, event: &str, payload: &str) -> io::Result<Vec<u8>> {
        let sent = self.send(event, payload).await?;
        loop {
            if let Packet::Answer { id, body } = self.receive().await?
                && id == sent
            {
                return Ok(body.to_vec());
            }
        }
    }

    /// The next packet. Pings are answered here.
    pub(crate) async fn receive(&mut self) -> io::Result<Packet<'_>> {
        let payload = loop {
            let Some(Frame { kind, payload }) = frame::read(&self.inbox[self.start..self.end])? else {
                self.fill().await?;
                continue;
            };
            let payload = self.start + payload.start..self.start + payload.end;
            self.start = payload.end;
            match kind {
                Kind::Close => return Err(io::Error::other("the server closed the socket")),
                Kind::Text if self.inbox[payload.clone()] == *PING => self.sender.send_text(PONG).await?,
                Kind::Text => break payload,
                Kind::Control => {}
            }
        };
        Ok(packet::parse(&self.inbox[payload]))
    }

    /// Stays connected and answers pings until the connection ends.
    pub(crate) async fn idle(mut self) {
        while self.receive().await.is_ok() {}
    }

    /// A second sending side, for a thread that keeps the time, with the next `count` ids for itself.
    pub(crate) fn reserve(&mut self, count: u64) -> Sender {
        let next_id = self.sender.next_id;
        self.sender.next_id += count;
        Sender { writer: self.sender.writer.clone(), next_id, text: Vec::new(), frame: Vec::new() }
    }

    async fn upgraded(&mut self) -> io::Result<()> {
        loop {
            let head = &self.inbox[..self.end];
            if let Some(at) = memchr::memmem::find(head, b"\r\n\r\n") {
                self.start = at + 4;
                let line = String::from_utf8_lossy(head).lines().next().unwrap_or_default().to_owned();
                return if line.starts_with("HTTP/1.1 101") {
                    Ok(())
                } else {
                    Err(io::Error::other(format!("the server refused the WebSocket: {line}")))
                };
            }
            self.fill().await?;
        }
    }

    async fn expect(&mut self, expected: &Packet<'_>) -> io::Result<()> {
        let packet = self.receive().await?;
        if packet == *expected { Ok(()) } else { Err(io::Error::other(format!("{packet:?} in place of {expected:?}"))) }
    }

    /// Reads once, after making room.
    async fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.inbox.len() && self.start > 0 {
            self.inbox.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.inbox.len() {
            self.inbox.resize(self.inbox.len() * 2, 0);
        }
        match self.reader.read(&mut self.inbox[self.end..]).await? {
            0 => Err(io::Error::other("the connection was lost")),
            length => {
                self.end += length;
                Ok(())
            }
        }
    }
}

impl Sender {
    /// The id of the next request.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Sends an event with an acknowledgement; returns its id; waits while the socket is full.
    pub(crate) async fn request(&mut self, event: &str, payload: &str) -> io::Result<u64> {
        let id = self.prepare(event, payload);
        self.flush().await?;
        Ok(id)
    }

    /// The same without waiting: a full socket is an error.
    pub(crate) fn try_request(&mut self, event: &str, payload: &str) -> io::Result<u64> {
        let id = self.prepare(event, payload);
        let length = self.writer.try_write(&self.frame)?;
        if length == self.frame.len() { Ok(id) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn prepare(&mut self, event: &str, payload: &str) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.text.clear();
        let _ = write!(self.text, "42{id}[\"{event}\",{payload}]");
        self.frame.clear();
        frame::write_text(&mut self.frame, &self.text);
        id
    }

    async fn send_text(&mut self, text: &[u8]) -> io::Result<()> {
        self.frame.clear();
        frame::write_text(&mut self.frame, text);
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.frame.len() {
            match self.writer.try_write(&self.frame[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writer.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
