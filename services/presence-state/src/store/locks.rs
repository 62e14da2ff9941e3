//! Locks in Redis: one function per script.

use std::sync::LazyLock;

use fred::types::Value;
use rollcall_bus::script::Script;
use rollcall_keyspace::gateway_code;
use rollcall_protocol::{
    ChannelId, ConnId, Fault, LockId, LockName, RoomId,
    command::lock::{Acquire, DropAll, Held, Locked, Release, Renew, Withdraw},
};
use tracing::Span;

use super::{Caller, Run, Store, broken, int, source::script, traceparent_of};

static ACQUIRE: LazyLock<Script> = LazyLock::new(|| script("lock_acquire"));
static RENEW: LazyLock<Script> = LazyLock::new(|| script("lock_renew"));
static RELEASE: LazyLock<Script> = LazyLock::new(|| script("lock_release"));
static WITHDRAW: LazyLock<Script> = LazyLock::new(|| script("lock_withdraw"));
static DROP: LazyLock<Script> = LazyLock::new(|| script("lock_drop"));
static EXPIRE: LazyLock<Script> = LazyLock::new(|| script("lock_expire"));
static GET: LazyLock<Script> = LazyLock::new(|| script("lock_get"));

/// The most locks in all channels of one name.
const MOST_LOCKS: u64 = 256;
/// The most waiters for them. A script that grants a lock to the next waiter reads all of them.
const MOST_WAITERS: u64 = 256;

impl Store {
    /// Acquires a lock, renews it if the connection holds it, or queues for it.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn acquire(&self, caller: Caller<'_>, acquire: &Acquire) -> Result<Locked, Fault> {
        let mut args = args(&acquire.lock, caller.span, &acquire.conn);
        args.extend([
            int(acquire.op),
            gateway_code(&acquire.gateway).into(),
            acquire.user.as_str().into(),
            int(acquire.ttl_ms),
            int(acquire.wait_ms),
            int(MOST_LOCKS),
            int(MOST_WAITERS),
        ]);
        self.of_conn(caller, &ACQUIRE, &acquire.lock, args).await
    }

    /// Extends the TTL of a lock.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn renew(&self, caller: Caller<'_>, renew: &Renew) -> Result<Locked, Fault> {
        let mut args = args(&renew.lock, caller.span, &renew.conn);
        args.extend([int(renew.fence), int(renew.ttl_ms)]);
        self.of_conn(caller, &RENEW, &renew.lock, args).await
    }

    /// Releases a lock.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn release(&self, caller: Caller<'_>, release: &Release) -> Result<Locked, Fault> {
        let mut args = args(&release.lock, caller.span, &release.conn);
        args.extend([int(release.fence), int(release.op)]);
        self.of_conn(caller, &RELEASE, &release.lock, args).await
    }

    /// Stops waiting for a lock.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn withdraw(&self, caller: Caller<'_>, withdraw: &Withdraw) -> Result<Locked, Fault> {
        let mut args = args(&withdraw.lock, caller.span, &withdraw.conn);
        args.extend([int(withdraw.op), i64::from(withdraw.keep).into()]);
        self.of_conn(caller, &WITHDRAW, &withdraw.lock, args).await
    }

    /// Releases every lock of a connection and stops all its waits.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn drop_locks(&self, caller: Caller<'_>, drop: &DropAll) -> Result<(), Fault> {
        let args =
            vec![drop.room.as_str().into(), traceparent_of(caller.span), drop.conn.as_str().into(), int(drop.op)];
        let _: Value = self.write_room(caller, &DROP, &drop.room, args).await?;
        Ok(())
    }

    /// Ends locks and waits that have expired.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn expire_locks(&self, caller: Caller<'_>, room: &RoomId) -> Result<(), Fault> {
        let args = vec![room.as_str().into(), traceparent_of(caller.span)];
        let _: Value = self.write_room(caller, &EXPIRE, room, args).await?;
        Ok(())
    }

    /// The locks that are held: in all channels of a name, in one of them, or one lock.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn locks(
        &self,
        span: &Span,
        room: &RoomId,
        kind: Option<&rollcall_protocol::ChannelType>,
        name: Option<&LockName>,
    ) -> Result<Vec<Held>, Fault> {
        let args = vec![
            room.as_str().into(),
            kind.map_or("", |kind| kind.as_str()).into(),
            name.map_or("", |name| name.as_str()).into(),
        ];
        let base = self.base_of(room);
        let about = rollcall_keyspace::locks(base, room);
        let run = Run { about: &about, at: room.partition(), bases: vec![base.clone()], args, batch: 1 };
        let parts: Vec<String> = self.run(span, &GET, run).await?;
        let lock = |parts: &[String]| {
            let channel = ChannelId { name: room.clone(), kind: parts[0].as_str().into() };
            let lock = LockId { channel, name: parts[1].as_str().into() };
            held(&lock, parts[2..].iter().map(String::as_str))
        };
        parts.chunks_exact(6).map(lock).collect::<Option<_>>().ok_or_else(broken)
    }

    async fn of_conn(
        &self,
        caller: Caller<'_>,
        script: &'static LazyLock<Script>,
        lock: &LockId,
        args: Vec<Value>,
    ) -> Result<Locked, Fault> {
        let parts: Vec<String> = self.write_room(caller, script, &lock.channel.name, args).await?;
        read(lock, &parts).ok_or_else(broken)
    }
}

/// The first arguments of scripts for one connection and one lock.
fn args(lock: &LockId, span: &Span, conn: &ConnId) -> Vec<Value> {
    vec![
        lock.channel.name.as_str().into(),
        traceparent_of(span),
        lock.channel.kind.as_str().into(),
        lock.name.as_str().into(),
        conn.as_str().into(),
    ]
}

/// Parses their answer.
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
