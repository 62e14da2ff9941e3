//! What is asked of locks, and what each connection was answered.

use rollcall_presence_state::store::Caller;
use rollcall_protocol::{
    ChannelId, Fault, LockId,
    command::lock::{Acquire, Held, Locked, Release},
};

use crate::{
    copy::{Holders, holders},
    members::{gateway, name, user},
    site::Site,
    step::{KINDS, LOCKS},
};

const LOCK_MS: u64 = 10_000;
const WAIT_MS: u64 = 60_000;

fn lock(site: &Site, lock: usize) -> LockId {
    LockId { channel: ChannelId { name: site.room.clone(), kind: KINDS[0].into() }, name: LOCKS[lock].into() }
}

/// Asks for a lock; says under which fence the connection has it now.
pub(crate) async fn acquire(
    site: &Site,
    (conn, at): (usize, usize),
    op: u64,
    waits: bool,
    deadline_ms: u64,
) -> Result<Option<Held>, Fault> {
    let acquire = Acquire {
        lock: lock(site, at),
        user: user(conn).as_str().into(),
        conn: name(conn).as_str().into(),
        gateway: gateway(conn).as_str().into(),
        op,
        ttl_ms: LOCK_MS,
        wait_ms: if waits { WAIT_MS } else { 0 },
    };
    match site.store.acquire(Caller { span: &site.span, deadline_ms }, &acquire).await? {
        Locked::Held(held) => Ok(Some(held)),
        Locked::Waits { holder, .. } | Locked::Taken(holder) => {
            assert_ne!(holder.conn.as_str(), name(conn), "it would have been answered that it holds it");
            Ok(None)
        }
        other => panic!("{other:?}"),
    }
}

/// Lets a lock go; says whether it was held under that fence.
pub(crate) async fn release(
    site: &Site,
    (conn, at): (usize, usize),
    op: u64,
    fence: u64,
    deadline_ms: u64,
) -> Result<bool, Fault> {
    let release = Release { lock: lock(site, at), conn: name(conn).as_str().into(), op, fence };
    match site.store.release(Caller { span: &site.span, deadline_ms }, &release).await? {
        Locked::Done => Ok(true),
        Locked::Lost => Ok(false),
        other => panic!("{other:?}"),
    }
}

/// Who holds what, as the answer to a newcomer says.
pub(crate) async fn read(site: &Site) -> Holders {
    holders(&site.store.locks(&site.span, &site.room, None, None).await.unwrap())
}
