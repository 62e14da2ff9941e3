//! One client: its session, its outlet, and what it shares with all other clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rollcall_bus::Bus;
use rollcall_protocol::{
    Code, ConnId, Fault, RoomId,
    client::{HeartbeatAnswer, Request, Token},
};
use rollcall_telemetry::{
    LogLimit,
    metrics::{self, Reading, Refusal},
    propagation::TraceContext,
};
use socketioxide::{TransportType, socket::Socket};

use super::{outlet::Outlet, session::Session};
use crate::{
    auth::{Auth, Identity, Right, access::Access, now_s},
    count::Count,
    flow::{
        Limits,
        budgets::Budgets,
        keyed::Buckets,
        rate::{Bucket, Quota},
    },
    http::transports::Transports,
    liveness::{Liveness, now_ms},
    pending::Pending,
    reassert::Reassert,
    relay::Relay,
};

/// A plain heartbeat is rejected if Redis has not acknowledged the gateway's lease for this long: Redis may have lost the
/// client's record.
const LEASE_TOO_OLD: Duration = Duration::from_secs(2);
/// The log limit for what a client can cause as fast as it can connect.
const REFUSED_EVERY: Duration = Duration::from_secs(5);
/// The most spans of events that are rejected unread, in a second and at once.
pub(super) const REJECTED_SPANS: Quota = Quota::new(100, 1);

/// What clients share.
pub(crate) struct Gateway {
    pub(super) bus: Arc<Bus>,
    pub(super) relay: Arc<Relay>,
    pub(super) reassert: Arc<Reassert>,
    pub(super) liveness: Arc<Liveness<Client>>,
    pub(super) pending: Arc<Pending>,
    pub(super) transports: Arc<Transports>,
    pub(super) auth: Auth,
    /// What one socket may send.
    pub(super) limits: Limits,
    /// The writes of each channel name.
    pub(super) channel_writes: Buckets<RoomId>,
    /// Limits the spans of events that are rejected unread: a client can send them at any rate.
    pub(super) rejected_spans: Bucket,
    /// Sessions whose end is not carried out yet.
    pub(super) sessions: Count,
    /// Locks that clients hold.
    pub(super) held: Count,
    /// Locks that clients wait for.
    pub(super) waiting: Count,
    /// Limits the log lines about malformed packets.
    pub(super) malformed: LogLimit,
    /// Limits the log lines about refused handshakes.
    unauthenticated: LogLimit,
}

/// What a [`Gateway`] is made of.
pub(crate) struct Parts {
    pub(crate) bus: Arc<Bus>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) reassert: Arc<Reassert>,
    pub(crate) liveness: Arc<Liveness<Client>>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) transports: Arc<Transports>,
    pub(crate) auth: Auth,
}

impl Gateway {
    pub(crate) fn new(parts: Parts, budgets: &Budgets) -> Self {
        let Parts { bus, relay, reassert, liveness, pending, transports, auth } = parts;
        Self {
            bus,
            relay,
            reassert,
            liveness,
            pending,
            transports,
            auth,
            limits: budgets.socket,
            channel_writes: Buckets::new(budgets.channel_writes),
            rejected_spans: Bucket::default(),
            sessions: Count::default(),
            held: Count::default(),
            waiting: Count::default(),
            malformed: LogLimit::new(REFUSED_EVERY),
            unauthenticated: LogLimit::new(REFUSED_EVERY),
        }
    }

    /// Registers the metrics of sockets and locks.
    pub(crate) fn register_metrics(&self) {
        let register = |reading, count: &Count| {
            let count = count.clone();
            metrics::observe(reading, move || Some(count.get() as f64));
        };
        metrics::begin_gateway();
        register(Reading::ConnectionsActive, &self.sessions);
        register(Reading::LocksHeld, &self.held);
        register(Reading::LocksWaiting, &self.waiting);
    }

    /// Who a connecting client is; `None` if clients are not asked.
    pub(super) async fn identify(&self, token: Option<&Token>) -> Result<Option<Identity>, Fault> {
        self.auth.identify(token).await.inspect_err(|fault| {
            count_refusal(fault);
            if let Some(suppressed) = self.unauthenticated.admit() {
                tracing::info!(why = fault.message, suppressed, "handshake refused");
            }
        })
    }

    /// Whether tokens can be checked.
    pub(crate) fn check_tokens(&self) -> Result<(), String> {
        self.auth.check()
    }

    /// Watches a new client.
    pub(super) fn watch(&self, client: &Arc<Client>) {
        self.liveness.watch(client);
        self.auth.watch(client);
    }

    /// The number of sessions whose end is not carried out yet.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.get()
    }
}

/// A client and its session.
pub(crate) struct Client {
    /// The session's id. A client that leaves the namespace and enters it again has two sessions, one after the other, which
    /// share only the connection.
    pub(crate) conn: ConnId,
    pub(super) gateway: Arc<Gateway>,
    pub(super) session: Session,
    pub(super) outlet: Arc<Outlet>,
    pub(super) access: Access,
    /// Whether the client is sent the changes of its room's channels.
    reads_channels: AtomicBool,
    /// The span of the connect, which all spans of the session link to.
    pub(super) connect_trace: TraceContext,
    pub(super) connected_at: Instant,
    /// When its last event came, in milliseconds since the process began. Kept only in heartbeat mode.
    last_event_ms: AtomicU64,
}

impl Client {
    pub(super) fn new(
        gateway: &Arc<Gateway>,
        conn: ConnId,
        outlet: Arc<Outlet>,
        access: Access,
        connect_trace: TraceContext,
    ) -> Arc<Self> {
        Arc::new(Self {
            conn,
            gateway: Arc::clone(gateway),
            session: Session::new(gateway.sessions.one_more(), Arc::clone(outlet.flow())),
            outlet,
            access,
            reads_channels: AtomicBool::new(true),
            connect_trace,
            connected_at: Instant::now(),
            last_event_ms: AtomicU64::new(now_ms()),
        })
    }

    /// The client is in `room`, under its current token.
    pub(super) fn learn_rights(&self, room: &RoomId) {
        self.reads_channels.store(self.access.allows(Right::MetadataRead, room), Ordering::Relaxed);
    }

    /// Whether the client may be sent this event.
    pub(super) fn may_see(&self, event: &str) -> bool {
        event != "metadata:event" || self.reads_channels.load(Ordering::Relaxed)
    }

    /// Whether the client may ask for this.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `FORBIDDEN`.
    pub(super) fn permit(&self, request: &Request) -> Result<(), Fault> {
        let permitted = match &self.gateway.auth {
            Auth::Off(outsiders) => outsiders.permit(request, || self.session.joined_room()),
            Auth::Jwt(_) => self.access.permit(request, now_s()),
        };
        permitted.inspect_err(|fault| {
            count_refusal(fault);
        })
    }

    /// Records that an event of the client came.
    pub(super) fn record_event(&self) {
        if self.gateway.liveness.tracks() {
            self.last_event_ms.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// When its last event came, in milliseconds since the process began.
    pub(super) fn last_event_ms(&self) -> u64 {
        self.last_event_ms.load(Ordering::Relaxed)
    }

    /// Whether it has sent nothing for too long.
    pub(super) fn is_silent(&self) -> bool {
        self.gateway.liveness.is_silent(self.last_event_ms(), now_ms())
    }

    /// Answers a heartbeat without Redis; `None` if it has to go to presence-state.
    pub(super) fn plain_heartbeat(
        &self,
        epoch: Option<u64>,
        trace: impl FnOnce(u64),
    ) -> Option<Result<HeartbeatAnswer, Fault>> {
        let is_fresh = || self.gateway.bus.lease_age().is_some_and(|age| age <= LEASE_TOO_OLD);
        self.session.plain_heartbeat(epoch, is_fresh, trace)
    }
}

/// Counts what was refused because of a token.
pub(super) fn count_refusal(fault: &Fault) {
    match fault.code {
        Code::Unauthenticated => metrics::refused(Refusal::Unauthenticated),
        Code::Forbidden => metrics::refused(Refusal::Forbidden),
        _ => {}
    }
}

/// The transport's name.
pub(super) fn transport(socket: &Socket) -> &'static str {
    match socket.transport_type() {
        TransportType::Websocket => "websocket",
        TransportType::Polling => "polling",
    }
}
