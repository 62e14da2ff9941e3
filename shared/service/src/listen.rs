//! The HTTP listener.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Room for clients that all come at once: with tokio's 128 the rest wait a second for their next SYN.
const BACKLOG: u32 = 4096;

/// Binds `address` (port 0: any free one) and says where.
///
/// # Errors
/// What the system says, most often that the port is in use.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(listener)
}
