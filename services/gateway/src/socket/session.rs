//! One socket's session: its seat in a room, its queue of work, its pulse. What the socket sends is done in order: while
//! one thing is under way the next ones wait here, and a task exists only as long as there is something to do.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::{
    Code, ConnId, Fault, RoomId, UserId,
    client::{HeartbeatAnswer, Request},
};
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::{SendError, SocketError, TransportType, extract::SocketRef, socket::Socket};
use telemetry::{metrics, propagation::TraceContext};

use super::{Gateway, answer::Answer, held::Locks, locks, presence};
use crate::touch::{Pulse, now_ms};

/// Events of one socket that may wait; a client that sends more is told `OVERLOADED`.
const QUEUE: usize = 64;
/// How often a socket whose queue is full is tried to be closed. At the latest the ping of Engine.IO ends it.
const DOOM_RETRY: Duration = Duration::from_millis(250);
const DOOM_TRIES: u32 = 240;

/// A connection's place in a room, as the gateway knows it.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
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
    /// Redis has no record of the connection: put it back.
    Restore,
    /// The socket closed.
    Closed(TraceContext),
}

#[derive(Default)]
struct Work {
    queue: VecDeque<Op>,
    busy: bool,
    /// Boxed: most of a session's memory is its seat, and a socket that has not joined has none.
    seat: Option<Box<Seat>>,
    /// The last operation that was numbered.
    op: u64,
    /// The highest epoch that the connection ever had.
    epoch: u64,
    /// Answers that found the socket's queue full.
    owed: VecDeque<(i64, Box<RawValue>)>,
    /// The last sampled heartbeat, for the touch to link to.
    heartbeat: Option<Box<TraceContext>>,
}

/// See the module.
pub(crate) struct Session {
    /// The Socket.IO socket id.
    pub(crate) conn: ConnId,
    /// When the connection was heard of and when Redis was told.
    pub(crate) pulse: Pulse,
    /// The span of the connect, to link to.
    pub(crate) connect_trace: TraceContext,
    pub(super) gateway: Arc<Gateway>,
    socket: Weak<Socket>,
    connected_at: Instant,
    work: Mutex<Work>,
    /// Boxed: most sockets never have one.
    locks: Mutex<Option<Box<Locks>>>,
    /// Members were told that the connection left: the next heartbeat has to put it back.
    evicted: AtomicBool,
    /// It was put back, and the client does not know yet.
    put_back: AtomicBool,
    /// Whether answers are owed: events wait behind them.
    owing: AtomicBool,
    doomed: AtomicBool,
}

impl Session {
    pub(super) fn new(gateway: Arc<Gateway>, socket: &Arc<Socket>, connect_trace: TraceContext) -> Arc<Self> {
        let conn = ConnId::from(socket.id.as_str());
        Arc::new(Self {
            pulse: Pulse::new(&conn),
            conn,
            connect_trace,
            gateway,
            socket: Arc::downgrade(socket),
            connected_at: Instant::now(),
            work: Mutex::default(),
            locks: Mutex::default(),
            evicted: AtomicBool::new(false),
            put_back: AtomicBool::new(false),
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
            let trace = |epoch| answer.beat().map(|beat| beat.good(epoch));
            match self.plain_heartbeat(*epoch, trace) {
                Some(Ok(done)) => answer.send(&done),
                Some(Err(fault)) => answer.refuse(&fault),
                None => self.enqueue(self.lock(), Op::Request(request, answer.later())),
            }
        } else if work.queue.len() >= QUEUE {
            drop(work);
            answer.refuse(&Fault::new(Code::Overloaded, "too many events are waiting; slow down"));
        } else {
            self.enqueue(work, Op::Request(request, answer.later()));
        }
    }

    /// Answers a heartbeat that concerns nobody else; `None` when it has to take the full way. `trace` notes its epoch in
    /// its span and says the context of that, if it has one.
    pub(super) fn plain_heartbeat(
        self: &Arc<Self>,
        epoch: Option<u64>,
        trace: impl FnOnce(u64) -> Option<TraceContext>,
    ) -> Option<Result<HeartbeatAnswer, Fault>> {
        let mut work = self.lock();
        let Some(seat) = work.seat.as_ref().filter(|seat| seat.joined) else {
            return Some(Err(not_joined()));
        };
        let current = seat.epoch;
        match epoch {
            _ if self.evicted.load(Ordering::Relaxed) => return None,
            Some(higher) if higher > current => return None,
            Some(lower) if lower < current => {
                return Some(Ok(HeartbeatAnswer { ok: true, epoch: current, stale: true, ..Default::default() }));
            }
            _ => {}
        }
        let now = now_ms();
        self.gateway.touches.beat(self, now);
        if self.pulse.is_late(now) {
            return Some(Err(Fault::new(Code::Unavailable, "presence is not available right now; try again")));
        }
        if let Some(trace) = trace(current) {
            work.heartbeat = Some(Box::new(trace));
        }
        let rejoined = self.put_back.load(Ordering::Relaxed) && self.put_back.swap(false, Ordering::Relaxed);
        Some(Ok(HeartbeatAnswer { ok: true, epoch: current, rejoined, ..Default::default() }))
    }

    /// Redis has no record of the connection.
    pub(crate) fn restore(self: &Arc<Self>) {
        let work = self.lock();
        if !work.queue.iter().any(|op| matches!(op, Op::Restore)) {
            self.enqueue(work, Op::Restore);
        }
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
        self.lock().seat.as_ref().filter(|seat| seat.joined).map(|seat| seat.room.clone())
    }

    pub(crate) fn take_heartbeat_trace(&self) -> Option<TraceContext> {
        self.lock().heartbeat.take().map(|trace| *trace)
    }

    /// The seat. Only the session's own work changes it, one thing at a time.
    pub(super) fn seat(&self) -> Option<Seat> {
        self.lock().seat.as_deref().cloned()
    }

    pub(super) fn set_seat(&self, seat: Option<Seat>) {
        let mut work = self.lock();
        if let Some(seat) = &seat {
            work.epoch = work.epoch.max(seat.epoch);
        }
        work.seat = seat.map(Box::new);
    }

    /// Whether the connection has joined a room.
    pub(super) fn is_in_a_room(&self) -> bool {
        self.joined_room().is_some()
    }

    /// The locks that it holds and waits for.
    pub(super) fn locks<T>(&self, see: impl FnOnce(&mut Locks) -> T) -> T {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Members were told that the connection is gone although its socket is here. If it was heard of within a TTL (the
    /// gateway had only been away) it is put back at once, else by its next heartbeat.
    pub(crate) fn evicted(self: &Arc<Self>) {
        self.evicted.store(true, Ordering::Relaxed);
        // Those of the room ended with the record. Not here: whoever says so holds the room.
        let session = Arc::clone(self);
        tokio::spawn(async move { locks::leave(&session, session.joined_room().as_ref()) });
        self.gateway.touches.nudge(self);
    }

    /// The record is there again; `told` when the client learns it with this answer. Says whether it had to be told
    /// before.
    pub(super) fn is_back(&self, told: bool) -> bool {
        self.evicted.store(false, Ordering::Relaxed);
        self.put_back.swap(!told, Ordering::Relaxed)
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

    /// Closes a socket that cannot be told what it must know. Its queue is full, so that takes some tries.
    pub(crate) fn doom(self: &Arc<Self>, why: &'static str) {
        if self.doomed.swap(true, Ordering::Relaxed) {
            return;
        }
        metrics::slow_reader();
        tracing::warn!(conn = %self.conn, why, "closing a socket whose client reads too slowly");
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
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
