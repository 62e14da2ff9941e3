//! The HTTP listener.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted. With tokio's default of 128, the clients beyond it wait 1 s to resend their SYN
/// when many connect at once.
const BACKLOG: u32 = 4096;

/// Binds `address` (port 0 takes any free port) and logs the bound address.
///
/// # Errors
/// The system's error, most often that the port is in use.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(listener)
}
