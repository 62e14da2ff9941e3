//! Evictions in Redis: connections whose gateway is gone or no longer has them.

use std::sync::LazyLock;

use rollcall_bus::script::Script;
use rollcall_keyspace::gateway_code;
use rollcall_protocol::{
    ConnId, Fault, InstanceId, RoomId,
    command::{Restore, Strays},
    event::Reason,
};

use super::{Caller, Store, int, source::script, traceparent_of};

static EVICT: LazyLock<Script> = LazyLock::new(|| script("presence_evict"));

/// Which connections [`Store::evict`] removes from a room.
#[derive(Debug, Clone)]
pub struct Eviction<'a> {
    /// The room.
    pub room: &'a RoomId,
    /// The codes of the gateways whose connections are evicted.
    pub gateways: &'a [String],
    /// The reason that members are sent.
    pub reason: Reason,
    /// Only records that are older than this, in milliseconds of Redis' clock; 0 for all.
    pub before_ms: u64,
    /// Connections that are not evicted.
    pub stay: &'a [ConnId],
    /// Whether the gateways' locks and waiters are removed too.
    pub with_locks: bool,
}

impl Store {
    /// Evicts about 200 connections, starting at `cursor`, or where the last such call stopped if it is `None`. Returns the next
    /// cursor, `None` at the end, and how many connections were evicted.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn evict(
        &self,
        caller: Caller<'_>,
        eviction: &Eviction<'_>,
        cursor: Option<String>,
    ) -> Result<(Option<String>, u64), Fault> {
        let mut args = vec![
            eviction.room.as_str().into(),
            cursor.unwrap_or_default().into(),
            eviction.reason.as_str().into(),
            traceparent_of(caller.span),
            int(eviction.before_ms),
            i64::from(eviction.with_locks).into(),
            int(eviction.gateways.len() as u64),
        ];
        args.extend(eviction.gateways.iter().map(|code| code.as_str().into()));
        args.extend(eviction.stay.iter().map(|conn| conn.as_str().into()));
        let (cursor, evicted, _): (String, u64, u64) = self.write_room(caller, &EVICT, eviction.room, args).await?;
        rollcall_telemetry::metrics::published("leave", evicted);
        Ok(((cursor != "0").then_some(cursor), evicted))
    }

    /// Evicts all of them, call by call; returns how many connections were evicted.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn evict_all(&self, caller: Caller<'_>, eviction: &Eviction<'_>) -> Result<u64, Fault> {
        let (mut cursor, mut total) = (Some("0".to_owned()), 0);
        loop {
            let (next, evicted) = self.evict(caller, eviction, cursor).await?;
            total += evicted;
            match next {
                Some(_) => cursor = next,
                None => return Ok(total),
            }
        }
    }

    /// Evicts the strays of a gateway in a room: records of connections that the gateway no longer has. `stay` are those that it
    /// has; `None` if it has nothing to do with the room.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub(super) async fn evict_strays(
        &self,
        caller: Caller<'_>,
        room: &RoomId,
        gateway: &InstanceId,
        before_ms: u64,
        stay: Option<&[ConnId]>,
    ) -> Result<u64, Fault> {
        let gateways = [gateway_code(gateway).to_owned()];
        let eviction = Eviction {
            room,
            gateways: &gateways,
            reason: Reason::Disconnected,
            before_ms,
            stay: stay.unwrap_or_default(),
            // If the gateway names connections, it uses the room, and its locks there may be valid.
            with_locks: stay.is_none(),
        };
        self.evict_all(caller, &eviction).await
    }

    /// Evicts the connections that a [`Restore`] does not name.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn prune(&self, caller: Caller<'_>, restore: &Restore, strays: &Strays) -> Result<u64, Fault> {
        let named = restore.members.iter().map(|member| &member.conn);
        let stay: Vec<_> = named.chain(&strays.stay).cloned().collect();
        self.evict_strays(caller, &restore.room, &restore.gateway, strays.before_ms, Some(&stay)).await
    }
}
