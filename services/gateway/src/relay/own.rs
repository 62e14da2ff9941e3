//! The members here, as the gateway restores them and compares them with what Redis has.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use protocol::{
    ConnId, Partition, RoomId,
    command::{Leave, Restored},
};

use super::{Relay, Room, reconcile::RECOVERY};
use crate::{
    reassert::{OwnRoom, Source},
    socket::session::Session,
};

impl Room {
    fn own(&self) -> OwnRoom {
        let (sessions, joining): (Vec<Arc<Session>>, _) = {
            let state = self.lock();
            (state.seats.values().map(|seat| Arc::clone(&seat.sink)).collect(), state.is_joining())
        };
        let members = sessions.iter().filter(|session| session.is_member_of(&self.id));
        OwnRoom {
            room: self.id.clone(),
            members: members.map(|session| session.conn.clone()).collect(),
            is_settled: !joining && self.leaving.load(Ordering::Acquire) == 0,
        }
    }

    fn session(&self, conn: &ConnId) -> Option<Arc<Session>> {
        self.lock().seats.get(conn).map(|seat| Arc::clone(&seat.sink))
    }
}

impl Source for Relay {
    fn room(&self, id: &RoomId) -> Option<OwnRoom> {
        Relay::room(self, id).map(|room| room.own())
    }

    fn rooms(&self, partition: Partition) -> Vec<OwnRoom> {
        // Where it only has to do with locks, it has no members, and its locks are good.
        let is_used = |room: &Arc<Room>, own: &OwnRoom| {
            !own.members.is_empty() || !own.is_settled || room.interests.load(Ordering::Acquire) > 0
        };
        let rooms = self.rooms_of(partition).into_iter().map(|room| (room.own(), room));
        rooms.filter(|(own, room)| is_used(room, own)).map(|(own, _)| own).collect()
    }

    fn had_rooms(&self, partition: Partition) -> bool {
        Relay::rooms(self, partition).had_some.load(Ordering::Relaxed)
    }

    fn records(&self, room: &RoomId, members: &[ConnId]) -> Vec<Restored> {
        let Some(room) = Relay::room(self, room) else { return Vec::new() };
        let sessions = members.iter().filter_map(|conn| room.session(conn));
        sessions.filter_map(|session| session.record(&room.id)).collect()
    }

    fn restored(&self, room: &RoomId, records: &[Restored], all_were_gone: bool) -> Vec<Leave> {
        let found = Relay::room(self, room);
        let session = |conn: &ConnId| found.as_ref()?.session(conn).filter(|session| session.is_member_of(room));
        let mut left = Vec::new();
        for Restored { conn, op, .. } in records {
            match session(conn) {
                Some(session) => session.restored(all_were_gone),
                None => left.push(Leave {
                    room: room.clone(),
                    conn: conn.clone(),
                    op: *op,
                    reason: protocol::event::Reason::Disconnected,
                }),
            }
        }
        left
    }

    fn differs(&self, room: &RoomId) {
        let Some(room) = Relay::room(self, room) else { return };
        room.lock().begin_recovery(Instant::now() + RECOVERY, 0);
        self.look_again(&room);
    }
}
