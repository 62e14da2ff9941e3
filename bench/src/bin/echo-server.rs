//! The yardstick: what socketioxide costs by itself. An echo and a broadcast in the most ordinary style, without Rollcall.
//!
//! It has no optimizations and pings as often as Rollcall does. Two lines differ from the defaults, because the numbers would
//! otherwise show the operating system and not the library: Nagle's algorithm is off, and the listen backlog holds a burst of
//! connections.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::ListenerExt;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::ConnectHandler;
use tokio::net::TcpSocket;

/// Rollcall's defaults.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// All sockets that asked for broadcasts share this room.
const EVERYONE: &str = "everyone";

#[tokio::main]
async fn main() -> io::Result<()> {
    let (layer, io) = SocketIo::builder().ping_interval(PING_INTERVAL).ping_timeout(PING_TIMEOUT).build_layer();
    // The handlers are registered in the middleware: the connect handler itself may run after the client's first event.
    io.ns("/", on_connect.with(register));

    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port())))?;
    let listener = socket.listen(4096)?;
    writeln!(io::stdout(), "listening address={}", listener.local_addr()?)?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, axum::Router::new().layer(layer)).await
}

/// The port: the first argument, else `PORT`, else any free one.
fn port() -> u16 {
    let given = std::env::args().nth(1).or_else(|| std::env::var("PORT").ok());
    given.and_then(|port| port.parse().ok()).unwrap_or(0)
}

async fn register(socket: SocketRef) -> Result<(), std::convert::Infallible> {
    socket.on("echo", async |Data::<Value>(data), ack: AckSender| {
        let _ = ack.send(&data);
    });
    socket.on("enter", async |socket: SocketRef, ack: AckSender| {
        socket.join(EVERYONE);
        let _ = ack.send(&true);
    });
    socket.on("broadcast", async |socket: SocketRef, Data::<Value>(data), ack: AckSender| {
        let _ = socket.within(EVERYONE).emit("event", &data).await;
        let _ = ack.send(&true);
    });
    Ok(())
}

async fn on_connect() {}
