//! Locks in Redis: one function for each script.

use std::sync::LazyLock;

use bus::script::Script;
use fred::types::Value;
use protocol::{
    ChannelId, ConnId, Fault, LockId, LockName, RoomId,
    command::lock::{Acquire, DropAll, Held, Locked, Release, Renew, Withdraw},
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use super::{Store, broken, int, keys_with_locks, script, traceparent};

static ACQUIRE: LazyLock<Script> = script!("clock", "lock", "locks", "lock_acquire");
static RENEW: LazyLock<Script> = script!("clock", "lock", "locks", "lock_renew");
static RELEASE: LazyLock<Script> = script!("clock", "lock", "locks", "lock_release");
static WITHDRAW: LazyLock<Script> = script!("clock", "lock", "locks", "lock_withdraw");
static DROP: LazyLock<Script> = script!("clock", "lock", "locks", "lock_drop");
static EXPIRE: LazyLock<Script> = script!("clock", "lock", "locks", "lock_expire");
static GET: LazyLock<Script> = script!("clock", "lock", "locks", "lock_get");

/// Locks of all channels of one name.
const MOST_LOCKS: u64 = 256;
/// Waiters for them. A script that hands a lock on looks at them all.
const MOST_WAITERS: u64 = 256;

impl Store {
    /// Takes a lock, holds it longer, or stands in line for it.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn acquire(&self, span: &Span, acquire: &Acquire, trace: &TraceContext) -> Result<Locked, Fault> {
        let mut args = args(&acquire.lock, trace, &acquire.conn);
        args.extend([
            int(acquire.op),
            acquire.node.as_str().into(),
            acquire.user.as_str().into(),
            int(acquire.ttl_ms),
            int(acquire.wait_ms),
            int(self.metadata_ttl_ms),
            int(MOST_LOCKS),
            int(MOST_WAITERS),
        ]);
        self.of_conn(span, &ACQUIRE, &acquire.lock, &acquire.conn, args).await
    }

    /// Holds a lock longer.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn renew(&self, span: &Span, renew: &Renew, trace: &TraceContext) -> Result<Locked, Fault> {
        let mut args = args(&renew.lock, trace, &renew.conn);
        args.extend([int(renew.fence), int(renew.ttl_ms)]);
        self.of_conn(span, &RENEW, &renew.lock, &renew.conn, args).await
    }

    /// Lets a lock go.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn release(&self, span: &Span, release: &Release, trace: &TraceContext) -> Result<Locked, Fault> {
        let mut args = args(&release.lock, trace, &release.conn);
        args.extend([int(release.fence), int(release.op)]);
        self.of_conn(span, &RELEASE, &release.lock, &release.conn, args).await
    }

    /// Waits no longer.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn withdraw(&self, span: &Span, withdraw: &Withdraw, trace: &TraceContext) -> Result<Locked, Fault> {
        let mut args = args(&withdraw.lock, trace, &withdraw.conn);
        args.extend([int(withdraw.op), i64::from(withdraw.keep).into()]);
        self.of_conn(span, &WITHDRAW, &withdraw.lock, &withdraw.conn, args).await
    }

    /// Takes everything from a connection.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn drop_locks(&self, span: &Span, drop: &DropAll, trace: &TraceContext) -> Result<(), Fault> {
        let mut keys = keys_with_locks(&drop.room);
        keys.push(keyspace::done(&drop.room, &drop.conn));
        let args = vec![traceparent(trace), drop.conn.as_str().into(), int(drop.op)];
        let _: Value = self.script(span, &DROP, keys, args, 1).await?;
        self.worked();
        Ok(())
    }

    /// Ends what has outlived its TTL.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn expire_locks(&self, span: &Span, room: &RoomId, trace: &TraceContext) -> Result<(), Fault> {
        let _: Value = self.script(span, &EXPIRE, keys_with_locks(room), vec![traceparent(trace)], 1).await?;
        self.worked();
        Ok(())
    }

    /// Who holds what: of all channels of a name, or of one type, or one lock.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn locks(
        &self,
        span: &Span,
        room: &RoomId,
        kind: Option<&protocol::ChannelType>,
        name: Option<&LockName>,
    ) -> Result<Vec<Held>, Fault> {
        let args = vec![kind.map_or("", |kind| kind.as_str()).into(), name.map_or("", |name| name.as_str()).into()];
        let parts: Vec<String> = self.script(span, &GET, keys_with_locks(room), args, 1).await?;
        self.worked();
        let lock = |parts: &[String]| {
            let channel = ChannelId { name: room.clone(), kind: parts[0].as_str().into() };
            let lock = LockId { channel, name: parts[1].as_str().into() };
            held(&lock, parts[2..].iter().map(String::as_str))
        };
        parts.chunks_exact(6).map(lock).collect::<Option<_>>().ok_or_else(broken)
    }

    async fn of_conn(
        &self,
        span: &Span,
        script: &'static LazyLock<Script>,
        lock: &LockId,
        conn: &ConnId,
        args: Vec<Value>,
    ) -> Result<Locked, Fault> {
        let room = &lock.channel.name;
        let mut keys = keys_with_locks(room);
        keys.push(keyspace::done(room, conn));
        let parts: Vec<String> = self.script(span, script, keys, args, 1).await?;
        self.worked();
        read(lock, &parts).ok_or_else(broken)
    }
}

/// What the scripts of one connection and one lock begin with.
fn args(lock: &LockId, trace: &TraceContext, conn: &ConnId) -> Vec<Value> {
    vec![traceparent(trace), lock.channel.kind.as_str().into(), lock.name.as_str().into(), conn.as_str().into()]
}

/// Reads what they answer.
fn read(lock: &LockId, parts: &[String]) -> Option<Locked> {
    let (status, rest) = parts.split_first()?;
    let held = || held(lock, rest.iter().map(String::as_str));
    Some(match status.as_str() {
        "held" => Locked::Held(held()?),
        "waits" => Locked::Waits { holder: held()?, ahead: rest.last()?.parse().ok()? },
        "taken" => Locked::Taken(held()?),
        "gone" if rest.is_empty() => Locked::Withdrawn(None),
        "gone" => Locked::Withdrawn(Some(held()?)),
        "lost" => Locked::Lost,
        "full" => Locked::Full,
        "overtaken" => Locked::Overtaken,
        "done" => Locked::Done,
        _ => return None,
    })
}

fn held<'a>(lock: &LockId, mut parts: impl Iterator<Item = &'a str>) -> Option<Held> {
    let (fence, expires_at_ms) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let (conn, owner) = (parts.next()?.into(), parts.next()?.into());
    Some(Held { lock: lock.clone(), owner, conn, fence, expires_at_ms })
}
