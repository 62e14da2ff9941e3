//! What a client can be refused by: its token, or a budget.

/// Why a client was refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A handshake or a refresh without a valid token.
    Unauthenticated,
    /// An event that the token does not allow.
    Forbidden,
    /// A handshake from an origin that is not named.
    Origin,
    /// An event over `SOCKET_EVENTS_PER_S`.
    SocketEvents,
    /// A message over `SOCKET_BYTES_PER_S`.
    SocketBytes,
    /// A metadata write over `CHANNEL_WRITES_PER_S`.
    ChannelWrites,
    /// An event of a socket whose queue is full.
    Queue,
    /// A socket that was closed because too many bytes wait for it.
    SocketBacklog,
    /// A socket that was closed because too many bytes wait in the process.
    ProcessBacklog,
    /// A large request, or a join of a large room, while too many others wait.
    LargeRequests,
    /// A handshake over `MAX_SESSIONS`.
    Sessions,
    /// A handshake over the number of sessions that are in no namespace yet.
    Handshakes,
    /// A handshake over `ADDRESS_HANDSHAKES_PER_S`.
    AddressRate,
    /// A TCP connection over the number of connections, of the process or of an address.
    Connections,
    /// A request whose head came too slowly or was too large.
    RequestHead,
    /// A request whose body came too slowly.
    RequestBody,
    /// A command: a write of metadata while Redis is nearly full, or any write that needs memory while it is full.
    StoreMemory,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 17] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Origin,
        Self::SocketEvents,
        Self::SocketBytes,
        Self::ChannelWrites,
        Self::Queue,
        Self::SocketBacklog,
        Self::ProcessBacklog,
        Self::LargeRequests,
        Self::Sessions,
        Self::Handshakes,
        Self::AddressRate,
        Self::Connections,
        Self::RequestHead,
        Self::RequestBody,
        Self::StoreMemory,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Origin => "origin",
            Self::SocketEvents => "socket_events",
            Self::SocketBytes => "socket_bytes",
            Self::ChannelWrites => "channel_writes",
            Self::Queue => "queue",
            Self::SocketBacklog => "socket_backlog",
            Self::ProcessBacklog => "process_backlog",
            Self::LargeRequests => "large_requests",
            Self::Sessions => "sessions",
            Self::Handshakes => "handshakes",
            Self::AddressRate => "address_rate",
            Self::Connections => "connections",
            Self::RequestHead => "request_head",
            Self::RequestBody => "request_body",
            Self::StoreMemory => "store_memory",
        }
    }
}
