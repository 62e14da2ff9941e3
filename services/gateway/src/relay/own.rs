//! The members of this gateway, for restores and audits.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use rollcall_protocol::{
    ConnId, Partition, RoomId,
    command::{Leave, Restored},
};

use super::{
    dirty::Dirty,
    member::Member,
    registry::{Registry, RoomHandle},
    room::RECOVERY,
};
use crate::reassert::{OwnRoom, Source};

impl RoomHandle {
    fn own(&self) -> OwnRoom {
        let (members, joining): (Vec<_>, _) = {
            let state = self.lock();
            (state.members().cloned().collect(), state.is_joining())
        };
        let members = members.iter().filter(|member| member.is_member_of(&self.id));
        OwnRoom {
            room: self.id.clone(),
            members: members.map(|member| member.conn().clone()).collect(),
            is_settled: !joining && self.leaving.load(Ordering::Acquire) == 0,
        }
    }

    fn member(&self, conn: &ConnId) -> Option<Arc<dyn Member>> {
        self.lock().member(conn).cloned()
    }
}

/// The members of this gateway.
pub(crate) struct Own {
    pub(super) registry: Arc<Registry>,
    pub(super) dirty: Arc<Dirty>,
}

impl Source for Own {
    fn room(&self, id: &RoomId) -> Option<OwnRoom> {
        self.registry.room(id).map(|room| room.own())
    }

    fn rooms(&self, partition: Partition) -> Vec<OwnRoom> {
        // Rooms with only locks count too: an audit would take a room that is not named for unused, and end its locks.
        let is_used = |room: &Arc<RoomHandle>, own: &OwnRoom| {
            !own.members.is_empty() || !own.is_settled || room.lock_subscriptions.load(Ordering::Acquire) > 0
        };
        let rooms = self.registry.rooms_of(partition).into_iter().map(|room| (room.own(), room));
        rooms.filter(|(own, room)| is_used(room, own)).map(|(own, _)| own).collect()
    }

    fn had_rooms(&self, partition: Partition) -> bool {
        self.registry.had_rooms(partition)
    }

    fn records(&self, room: &RoomId, members: &[ConnId]) -> Vec<Restored> {
        let Some(room) = self.registry.room(room) else { return Vec::new() };
        let members = members.iter().filter_map(|conn| room.member(conn));
        members.filter_map(|member| member.record(&room.id)).collect()
    }

    fn restored(&self, room: &RoomId, records: &[Restored], all_were_gone: bool) -> Vec<Leave> {
        let found = self.registry.room(room);
        let member = |conn: &ConnId| found.as_ref()?.member(conn).filter(|member| member.is_member_of(room));
        let mut left = Vec::new();
        for Restored { conn, op, .. } in records {
            match member(conn) {
                Some(member) => member.restored(all_were_gone),
                None => left.push(Leave {
                    room: room.clone(),
                    conn: conn.clone(),
                    op: *op,
                    reason: rollcall_protocol::event::Reason::Disconnected,
                }),
            }
        }
        left
    }

    fn differs(&self, room: &RoomId) {
        let Some(room) = self.registry.room(room) else { return };
        room.lock().begin_recovery(Instant::now() + RECOVERY, 0);
        self.dirty.resync(&room);
    }
}
