//! The connections of two gateways, as these know them: their own copy is the truth.

use rollcall_presence_state::store::{Beat, Caller};
use rollcall_protocol::{
    Fault, Info,
    command::{Audit, Heartbeat, Join, JoinResult, Leave, Restore, Restored, Strays},
    event::Reason,
};
use rollcall_telemetry::propagation::TraceContext;

use crate::{
    copy::Roster,
    received::Received,
    site::{Site, beat, info, info_text, join, json, restored},
    step::CONNS,
};

/// What a gateway knows of a connection.
#[derive(Debug, Default)]
struct Conn {
    op: u64,
    highest_epoch: u64,
    /// While it is a member: operation, epoch and state.
    record: Option<(u64, u64, String)>,
    /// What its last join said about it; every third one said nothing.
    info: Option<Info>,
    /// The operation of its last leave, which is sent again when Redis may have lost it.
    left: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Members([Conn; CONNS]);

pub(crate) fn name(conn: usize) -> String {
    format!("c{conn}")
}

pub(crate) fn gateway(conn: usize) -> String {
    format!("presence-gateway-{:08x}", conn % 2)
}

pub(crate) fn user(conn: usize) -> String {
    format!("u{}", conn / 2)
}

impl Members {
    pub(crate) fn next_op(&mut self, conn: usize) -> u64 {
        self.0[conn].op += 1;
        self.0[conn].op
    }

    pub(crate) fn is_member(&self, conn: usize) -> bool {
        self.0[conn].record.is_some()
    }

    /// Who is there, in truth.
    pub(crate) fn roster(&self) -> Roster {
        let entry = |(n, conn): (usize, &Conn)| {
            let (_, epoch, state) = conn.record.clone()?;
            let info = info_text(conn.info.as_ref().map(Info::json)).to_owned();
            Some((name(n), (user(n), epoch, info, state)))
        };
        self.0.iter().enumerate().filter_map(entry).collect()
    }

    pub(crate) async fn join(&mut self, site: &Site, conn: usize, deadline_ms: u64) -> Result<(), Fault> {
        let op = self.next_op(conn);
        let state = format!(r#"{{"joined":{op}}}"#);
        let known = self.0[conn].highest_epoch;
        let of = if op.is_multiple_of(3) { None } else { info(&format!(r#"{{"n":{op}}}"#)) };
        let one = Join {
            room: site.room.clone(),
            gateway: gateway(conn).as_str().into(),
            known_epoch: known,
            info: of.clone(),
            state: json(&state),
            ..join(&name(conn), &user(conn), op)
        };
        let caller = Caller { span: &site.span, deadline_ms };
        let joined = site.store.join(caller, &site.room, &[(&one, TraceContext::default())]).await?.joined;
        let JoinResult::Member { epoch, .. } = joined.joins[0].result else { panic!("{joined:?}") };
        assert!(epoch > known, "a join has an epoch above all that the connection ever had");
        self.0[conn].info = of;
        self.keep(conn, op, epoch, state);
        Ok(())
    }

    /// Changes the state of a member; one whose record is not there is put back with it.
    pub(crate) async fn update(&mut self, site: &Site, conn: usize, deadline_ms: u64) -> Result<(), Fault> {
        let (base_op, epoch, _) = self.0[conn].record.clone().unwrap();
        let op = self.next_op(conn);
        let state = format!(r#"{{"updated":{op}}}"#);
        let patch = Heartbeat {
            room: site.room.clone(),
            known_epoch: epoch,
            info: self.0[conn].info.clone(),
            state: Some(json(&state)),
            ..beat(&name(conn), op, base_op)
        };
        let answer = site.store.heartbeats(deadline_ms, &[(&patch, &site.span)]).await?.pop().unwrap();
        let epoch = match answer {
            Beat::Taken { epoch, changed: true, .. } => epoch,
            Beat::Missing => {
                let record = self.restored(conn, (op, epoch, &state));
                assert_eq!(site.restore(&gateway(conn), vec![record]).await, 1);
                epoch
            }
            other => panic!("{other:?}: only its gateway writes a record"),
        };
        self.keep(conn, op, epoch, state);
        Ok(())
    }

    fn restored(&self, conn: usize, (op, epoch, state): (u64, u64, &str)) -> Restored {
        Restored { info: self.0[conn].info.clone(), ..restored(&name(conn), &user(conn), op, epoch, state) }
    }

    fn keep(&mut self, conn: usize, op: u64, epoch: u64, state: String) {
        let known = &mut self.0[conn];
        known.highest_epoch = known.highest_epoch.max(epoch);
        known.record = Some((op, epoch, state));
    }

    /// Whatever becomes of the leave, the connection is no member any more; the leave is sent until it is carried out.
    pub(crate) async fn leave(&mut self, site: &Site, conn: usize, deadline_ms: u64) -> Result<(), Fault> {
        let op = self.next_op(conn);
        (self.0[conn].record, self.0[conn].left) = (None, op);
        self.send_leave(site, conn, deadline_ms).await
    }

    async fn send_leave(&self, site: &Site, conn: usize, deadline_ms: u64) -> Result<(), Fault> {
        let (op, reason) = (self.0[conn].left, Reason::Left);
        let leave = Leave { room: site.room.clone(), conn: name(conn).as_str().into(), op, reason };
        site.store.leave(Caller { span: &site.span, deadline_ms }, &leave).await.map(|_| ())
    }

    /// Redis may have lost something: the gateways put their records back, send their leaves again, remove records that have
    /// no connection, and find no difference then.
    pub(crate) async fn recover(&self, site: &Site) {
        let all_others = Strays { before_ms: u64::MAX >> 11, stay: Vec::new() };
        for at in 0..2 {
            let own = (0..CONNS).filter(|conn| conn % 2 == at);
            let records = own.clone().filter_map(|conn| {
                let (op, epoch, state) = self.0[conn].record.as_ref()?;
                Some(self.restored(conn, (*op, *epoch, state)))
            });
            let members: Vec<Restored> = records.collect();
            let count = members.len() as u64;
            let (room, gateway) = (site.room.clone(), gateway(at).as_str().into());
            let restore = Restore { room, gateway, members, strays: None };
            site.store.restore(site.caller(), &restore).await.unwrap();
            for conn in own.filter(|conn| self.0[*conn].record.is_none() && self.0[*conn].left > 0) {
                self.send_leave(site, conn, u64::MAX).await.unwrap();
            }
            site.store.prune(site.caller(), &restore, &all_others).await.unwrap();
            let (partition, rooms) = (site.room.partition(), vec![(site.room.clone(), count)]);
            let audit = Audit { partition, gateway: restore.gateway, rooms, strays_before_ms: all_others.before_ms };
            let audited = site.store.audit(site.caller(), &audit).await.unwrap();
            assert_eq!(
                (audited.differing, audited.removed),
                (Vec::new(), 0),
                "nothing is missing, nothing is too much"
            );
        }
    }

    /// Records the epoch that each connection knows.
    pub(crate) fn record_epochs(&self, received: &mut Received) {
        for (n, conn) in self.0.iter().enumerate() {
            if let Some((_, epoch, _)) = &conn.record {
                received.give_epoch(&name(n), *epoch);
            }
        }
    }
}
