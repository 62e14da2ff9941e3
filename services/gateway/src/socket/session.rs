//! One socket's session: its membership of a room, its queue of work. What the socket sends is done in order: while one thing
//! is under way the next ones wait here, and a task exists only as long as there is something to do.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::{Mutex, MutexGuard};
use protocol::{
    Code, ConnId, Fault, RoomId, UserId,
    client::{HeartbeatAnswer, Request},
    command::Restored,
};
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::{SendError, SocketError, TransportType, extract::SocketRef, socket::Socket};
use telemetry::{metrics, propagation::TraceContext};

use super::{Gateway, answer::Answer, held::Locks, locks, presence};
use crate::liveness::{self, now_ms};

/// Events of one socket that may wait; a client that sends more is told `OVERLOADED`.
const QUEUE: usize = 64;
/// How often a socket whose queue is full is tried to be closed. At the latest the ping of Engine.IO ends it.
const DOOM_RETRY: Duration = Duration::from_millis(250);
const DOOM_TRIES: u32 = 240;

/// A plain heartbeat is refused when the own lease was not acknowledged for this long: Redis may know nothing of its
/// connection any more.
const LEASE_TOO_OLD: Duration = Duration::from_secs(2);

/// A connection's membership of a room, as the gateway knows it.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) room: RoomId,
    pub(crate) user: UserId,
    pub(crate) epoch: u64,
    pub(crate) state: Box<RawValue>,
    /// The operation that `state` stems from.
    pub(crate) base_op: u64,
    /// Whether the join was answered; one that was sent but not answered may have happened.
    pub(crate) joined: bool,
}

/// What a session does next.
pub(super) enum Op {
    /// An event of the client.
    Request(Request, Answer),
    /// The client sent nothing for too long.
    Expire,
    /// The socket closed.
    Closed(TraceContext),
}

/// What members may have been told of the connection that its client does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Standing {
    /// Nothing.
    Known,
    /// Its record was gone and has been restored: the next heartbeat is answered `rejoined`.
    Restored,
    /// It was evicted, and is being restored.
    Evicted,
    /// It has expired: its next heartbeat restores it.
    Expired,
}

impl Standing {
    fn of(number: u8) -> Self {
        [Self::Known, Self::Restored, Self::Evicted, Self::Expired][usize::from(number)]
    }
}

#[derive(Default)]
struct Work {
    queue: VecDeque<Op>,
    busy: bool,
    /// Boxed: most of a session's memory is its membership, and a socket that has not joined has none.
    membership: Option<Box<Membership>>,
    /// The last operation that was numbered.
    op: u64,
    /// The highest epoch that the connection ever had.
    epoch: u64,
    /// Answers that found the socket's queue full.
    owed: VecDeque<(i64, Box<RawValue>)>,
}

impl Work {
    /// A join has a place of its own behind a full queue: a client that sends what it wrote while it was offline, and then joins,
    /// would else never be a member.
    fn has_place_for(&self, request: &Request) -> bool {
        let is_join = |request: &Request| matches!(request, Request::Join { .. });
        is_join(request) && !self.queue.iter().any(|op| matches!(op, Op::Request(waiting, _) if is_join(waiting)))
    }
}

/// See the module.
pub(crate) struct Session {
    /// Its own id. A socket that leaves the namespace and enters it again has two sessions, one after the other.
    pub(crate) conn: ConnId,
    /// When its last event came, where anybody asks.
    heard_at_ms: AtomicU64,
    /// The span of the connect, to link to.
    pub(crate) connect_trace: TraceContext,
    pub(super) gateway: Arc<Gateway>,
    socket: Weak<Socket>,
    connected_at: Instant,
    work: Mutex<Work>,
    /// Boxed: most sockets never have one.
    locks: Mutex<Option<Box<Locks>>>,
    /// A [`Standing`].
    standing: AtomicU8,
    /// Whether answers are owed: events wait behind them.
    owing: AtomicBool,
    doomed: AtomicBool,
}

impl Session {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        conn: ConnId,
        socket: &Arc<Socket>,
        connect_trace: TraceContext,
    ) -> Arc<Self> {
        Arc::new(Self {
            conn,
            heard_at_ms: AtomicU64::new(now_ms()),
            connect_trace,
            gateway,
            socket: Arc::downgrade(socket),
            connected_at: Instant::now(),
            work: Mutex::default(),
            locks: Mutex::default(),
            standing: AtomicU8::new(Standing::Known as u8),
            owing: AtomicBool::new(false),
            doomed: AtomicBool::new(false),
        })
    }

    /// An event of the client, checked.
    pub(super) fn take(self: &Arc<Self>, request: Request, mut answer: Answer) {
        let work = self.lock();
        if let Request::Heartbeat { epoch, patch: None } = &request
            && !work.busy
        {
            drop(work);
            let trace = |epoch| drop(answer.beat().map(|beat| beat.good(epoch)));
            match self.plain_heartbeat(*epoch, trace) {
                Some(Ok(done)) => answer.send(&done),
                Some(Err(fault)) => answer.refuse(&fault),
                None => self.enqueue(self.lock(), Op::Request(request, answer.later())),
            }
        } else if work.queue.len() >= QUEUE && !work.has_place_for(&request) {
            drop(work);
            answer.refuse(&Fault::new(Code::Overloaded, "too many events are waiting; slow down"));
        } else {
            self.enqueue(work, Op::Request(request, answer.later()));
        }
    }

    /// Something of the client came.
    pub(super) fn heard(&self) {
        if self.gateway.liveness.tracks() {
            self.heard_at_ms.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// Answers a heartbeat that concerns nobody else; `None` when it has to take the full way. `trace` notes its epoch in
    /// its span.
    pub(super) fn plain_heartbeat(
        &self,
        epoch: Option<u64>,
        trace: impl FnOnce(u64),
    ) -> Option<Result<HeartbeatAnswer, Fault>> {
        let work = self.lock();
        let Some(current) = work.membership.as_ref().filter(|own| own.joined).map(|own| own.epoch) else {
            return Some(Err(not_joined()));
        };
        drop(work);
        let standing = self.standing();
        match epoch {
            _ if matches!(standing, Standing::Evicted | Standing::Expired) => return None,
            Some(higher) if higher > current => return None,
            Some(lower) if lower < current => {
                return Some(Ok(HeartbeatAnswer { ok: true, epoch: current, stale: true, ..Default::default() }));
            }
            _ => {}
        }
        if self.gateway.bus.lease_age().is_none_or(|age| age > LEASE_TOO_OLD) {
            return Some(Err(Fault::unavailable()));
        }
        trace(current);
        let rejoined = standing == Standing::Restored && self.swap_standing(standing, Standing::Known);
        Some(Ok(HeartbeatAnswer { ok: true, epoch: current, rejoined, ..Default::default() }))
    }

    /// The socket closed. What it sent before is still done first.
    pub(super) fn closed(self: &Arc<Self>, transport: &'static str, reason: &'static str) {
        let lived = self.connected_at.elapsed();
        metrics::connection_ended(transport, reason, lived);
        let lived_ms = lived.as_millis() as u64;
        let span = telemetry::span::socket_disconnect(self.conn.as_str(), transport, reason, lived_ms);
        self.connect_trace.link(&span);
        self.enqueue(self.lock(), Op::Closed(TraceContext::of(&span)));
    }

    fn enqueue(self: &Arc<Self>, mut work: MutexGuard<'_, Work>, op: Op) {
        work.queue.push_back(op);
        if !std::mem::replace(&mut work.busy, true) {
            tokio::spawn(Arc::clone(self).work());
        }
    }

    async fn work(self: Arc<Self>) {
        while let Some(op) = self.next_op() {
            presence::carry_out(&self, op).await;
        }
    }

    fn next_op(&self) -> Option<Op> {
        let mut work = self.lock();
        let op = work.queue.pop_front();
        work.busy = op.is_some();
        if op.is_none() {
            // An idle session keeps no room for a queue.
            work.queue = VecDeque::new();
        }
        op
    }

    /// The room that the connection has joined, if any.
    pub(crate) fn joined_room(&self) -> Option<RoomId> {
        self.lock().membership.as_ref().filter(|own| own.joined).map(|own| own.room.clone())
    }

    /// Whether Redis should have a record of the connection in `room`.
    pub(crate) fn is_member_of(&self, room: &RoomId) -> bool {
        let is_joined = self.lock().membership.as_ref().is_some_and(|own| own.joined && own.room == *room);
        is_joined && self.standing() != Standing::Expired
    }

    /// That record.
    pub(crate) fn record(&self, room: &RoomId) -> Option<Restored> {
        let work = self.lock();
        let own = work.membership.as_ref().filter(|own| own.joined && own.room == *room)?;
        (self.standing() != Standing::Expired).then(|| Restored {
            conn: self.conn.clone(),
            user: own.user.clone(),
            op: own.base_op,
            epoch: own.epoch,
            state: own.state.clone(),
        })
    }

    /// The membership. Only the session's own work changes it, one thing at a time.
    pub(super) fn membership(&self) -> Option<Membership> {
        self.lock().membership.as_deref().cloned()
    }

    pub(super) fn set_membership(&self, own: Option<Membership>) {
        let mut work = self.lock();
        if let Some(own) = &own {
            work.epoch = work.epoch.max(own.epoch);
        }
        work.membership = own.map(Box::new);
    }

    /// Whether the connection has joined a room.
    pub(super) fn is_in_a_room(&self) -> bool {
        self.joined_room().is_some()
    }

    /// The locks that it holds and waits for.
    pub(super) fn locks<T>(&self, see: impl FnOnce(&mut Locks) -> T) -> T {
        let mut locks = self.locks.lock();
        let before = locks.as_ref().map_or((0, 0), |locks| locks.numbers());
        let result = see(locks.get_or_insert_default());
        self.gateway.count_locks(before, locks.as_ref().map_or((0, 0), |locks| locks.numbers()));
        if locks.as_ref().is_some_and(|locks| locks.count() == 0) {
            *locks = None;
        }
        result
    }

    /// The highest epoch that the connection ever had.
    pub(super) fn highest_epoch(&self) -> u64 {
        self.lock().epoch
    }

    pub(super) fn next_op_number(&self) -> u64 {
        let mut work = self.lock();
        work.op += 1;
        work.op
    }

    /// Members were told that the connection is gone although its socket is here; its record stood at `op`. Unless it was
    /// restored since, that is done now.
    pub(crate) fn evicted(self: &Arc<Self>, op: u64) {
        let Some(room) = self.lock().membership.as_ref().filter(|own| own.base_op <= op).map(|own| own.room.clone())
        else {
            return;
        };
        loop {
            match self.standing() {
                Standing::Expired => return,
                standing if self.swap_standing(standing, Standing::Evicted) => break,
                _ => {}
            }
        }
        self.gateway.reassert.restore(&room);
        // Those of the room ended with the record. Not here: this is called under the room's lock.
        let session = Arc::clone(self);
        tokio::spawn(async move { locks::leave(&session, Some(&room)) });
    }

    /// Its client sent nothing for too long, and the leave is about to be sent; says whether it had not expired before.
    pub(super) fn expire(&self) -> bool {
        self.standing.swap(Standing::Expired as u8, Ordering::Relaxed) != Standing::Expired as u8
    }

    pub(super) fn has_expired(&self) -> bool {
        self.standing() == Standing::Expired
    }

    /// Whether its client has sent nothing for too long.
    pub(super) fn is_silent(&self) -> bool {
        self.gateway.liveness.is_silent(self.heard_at_ms.load(Ordering::Relaxed), now_ms())
    }

    /// The record was restored outside the session's own work. The client learns it if the record was gone.
    pub(crate) fn restored(&self, was_gone: bool) {
        self.swap_standing(Standing::Evicted, Standing::Restored);
        if was_gone {
            self.swap_standing(Standing::Known, Standing::Restored);
        }
    }

    /// The record is there, and the client learns it with this answer. Says whether it has to be told that it was gone.
    pub(super) fn is_back(&self) -> bool {
        self.standing.swap(Standing::Known as u8, Ordering::Relaxed) == Standing::Restored as u8
    }

    fn standing(&self) -> Standing {
        Standing::of(self.standing.load(Ordering::Relaxed))
    }

    fn swap_standing(&self, from: Standing, to: Standing) -> bool {
        self.standing.compare_exchange(from as u8, to as u8, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The socket, as long as it lives and is not about to be closed.
    pub(super) fn socket(&self) -> Option<Arc<Socket>> {
        self.socket.upgrade().filter(|_| !self.doomed.load(Ordering::Relaxed))
    }

    /// Keeps an answer for later; how many there are.
    pub(super) fn owe(&self, ack_id: i64, answer: Box<RawValue>) -> usize {
        let mut work = self.lock();
        work.owed.push_back((ack_id, answer));
        self.owing.store(true, Ordering::Relaxed);
        work.owed.len()
    }

    pub(super) fn first_owed(&self) -> Option<(i64, Box<RawValue>)> {
        self.lock().owed.front().cloned()
    }

    /// The first answer that was kept is sent; how many remain.
    pub(super) fn paid(&self) -> usize {
        let mut work = self.lock();
        work.owed.pop_front();
        self.owing.store(!work.owed.is_empty(), Ordering::Relaxed);
        work.owed.len()
    }

    /// Sends an event of the server; says whether there was room for it.
    pub(crate) fn emit(&self, event: &str, payload: &(impl Serialize + ?Sized)) -> bool {
        self.socket().is_none_or(|socket| {
            !self.owing.load(Ordering::Relaxed)
                && !matches!(socket.emit(event, payload), Err(SendError::Socket(SocketError::InternalChannelFull)))
        })
    }

    /// Closes a socket that cannot be sent what it must know, by its transport, so that its client comes back. The session itself
    /// can be ended only when its queue has room; at the latest the next ping ends it.
    pub(crate) fn doom(self: &Arc<Self>, why: &'static str) {
        if self.doomed.swap(true, Ordering::Relaxed) {
            return;
        }
        metrics::slow_reader();
        tracing::warn!(conn = %self.conn, why, "closing a socket whose client reads too slowly");
        if let Some(socket) = self.socket.upgrade() {
            let transports = &self.gateway.transports;
            transports.end(socket.id.as_str());
            // It may have closed by itself meanwhile, and was forgotten already.
            if !socket.connected() {
                transports.forget(socket.id.as_str());
            }
        }
        let session = Arc::clone(self);
        tokio::spawn(async move {
            for _ in 0..DOOM_TRIES {
                let Some(socket) = session.socket.upgrade().filter(|socket| socket.connected()) else { return };
                if SocketRef::from(socket).disconnect().is_ok() {
                    return;
                }
                tokio::time::sleep(DOOM_RETRY).await;
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock()
    }
}

impl liveness::Client for Session {
    fn heard_at_ms(&self) -> u64 {
        self.heard_at_ms.load(Ordering::Relaxed)
    }

    fn fell_silent(self: Arc<Self>) {
        if self.has_expired() {
            return;
        }
        let work = self.lock();
        let is_member = work.membership.as_ref().is_some_and(|own| own.joined);
        if is_member && !work.queue.iter().any(|op| matches!(op, Op::Expire)) {
            self.enqueue(work, Op::Expire);
        }
    }
}

/// 96 bits of the system's randomness, in 16 letters.
pub(super) fn random_id() -> ConnId {
    let mut bytes = [0; 12];
    // As std does where it needs random numbers: without them nothing that has to be unique can be named.
    #[expect(clippy::expect_used, reason = "see above")]
    getrandom::fill(&mut bytes).expect("the system gives random numbers");
    ConnId::from(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

pub(super) fn not_joined() -> Fault {
    Fault::new(Code::NotJoined, "join a room first")
}

/// The transport's name.
pub(super) fn transport(socket: &Socket) -> &'static str {
    match socket.transport_type() {
        TransportType::Websocket => "websocket",
        TransportType::Polling => "polling",
    }
}
