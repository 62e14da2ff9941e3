//! A member that believes what it is sent, and complains of what it must not be sent.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use rollcall_protocol::{Info, Position, command::Member};
use serde_json::{Value, value::RawValue};

use crate::relay::room::Sink;

/// Connections, each with its user, its epoch, its info and its state.
pub(super) type View = BTreeMap<String, (String, u64, String, String)>;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Client(Rc<RefCell<Received>>);

#[derive(Default)]
pub(super) struct Received {
    /// Whether its queue takes nothing.
    pub(super) full: bool,
    /// How many messages its queue takes until it is full; any number if that is not said.
    pub(super) space: Option<usize>,
    pub(super) at: Position,
    /// By the answer, the events and the syncs.
    pub(super) view: View,
    /// By the answer and the events alone.
    pub(super) view_by_events: View,
    /// Everyone whom it was shown since the answer, and the last epoch.
    seen: BTreeMap<String, u64>,
    /// Of whom it must not be sent a leave, from which epoch on.
    pub(super) protected: BTreeMap<String, u64>,
    pub(super) complaints: Vec<String>,
    /// Redis lost data twice: what it sent between is not judged, only what it says in the end.
    pub(super) lenient: bool,
    /// How often its room reported that it is gone.
    pub(super) evictions: usize,
    /// What the room last said of its own record: epoch and operation, and the info.
    pub(super) recorded: Option<(u64, u64)>,
    pub(super) recorded_info: Option<Info>,
    pub(super) syncs: usize,
    /// What it was sent since the answer, in short.
    pub(super) log: Vec<String>,
    /// It was sent changes by marked events, and not yet the sync.
    pub(super) resyncing: bool,
    /// The room started over and it was not yet sent everything.
    pub(super) settling: bool,
}

impl Client {
    pub(super) fn received(&self) -> std::cell::RefMut<'_, Received> {
        self.0.borrow_mut()
    }

    /// It reads what its queue had; the queue takes so many messages now, or any number.
    pub(super) fn has_space(&self, space: Option<usize>) {
        let mut received = self.received();
        (received.full, received.space) = (false, space);
    }

    /// Its join is answered.
    pub(super) fn answered<'a>(&self, at: Position, members: impl Iterator<Item = &'a Member>) {
        let mut received = self.received();
        received.at = at;
        received.view = members.map(entry).collect();
        received.view_by_events = received.view.clone();
        received.seen.clear();
        received.see_all();
        (received.resyncing, received.settling) = (false, false);
        received.log.clear();
    }
}

impl Sink for Client {
    fn emit(&self, event: &str, message: &RawValue) -> bool {
        let mut received = self.received();
        if let Some(space) = &mut received.space {
            match space.checked_sub(1) {
                Some(left) => *space = left,
                None => (received.full, received.space) = (true, None),
            }
        }
        if received.full {
            return false;
        }
        let message: Value = serde_json::from_str(message.get()).unwrap();
        match event {
            "presence:event" => received.event(&message),
            _ => received.sync(&message),
        }
        true
    }

    fn evicted(&self, _: u64) {
        self.received().evictions += 1;
    }

    fn recorded(&self, epoch: u64, op: u64, info: Option<&Info>, _: &str) {
        let mut received = self.received();
        (received.recorded, received.recorded_info) = (Some((epoch, op)), info.cloned());
    }
}

impl Received {
    fn event(&mut self, event: &Value) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let at = position(event);
        let marked = event["resync"] == true;
        let (kind, conn, user) = (text("type"), text("connId"), text("userId"));
        let epoch = event["epoch"].as_u64().unwrap();
        let edge = event["userJoined"].as_bool().or(event["userLeft"].as_bool());
        let edge = edge.map(|edge| if edge { " first or last" } else { "" }).unwrap_or_default();
        self.log.push(format!("{kind} {conn}{edge}{}", if marked { " resync" } else { "" }));
        if at.generation != self.at.generation {
            self.settling = true;
        }
        if !marked && !self.settling && (self.resyncing || at.seq != self.at.seq + 1) {
            self.complain("is no successor", event);
        }
        if (at.generation, at.seq) < (self.at.generation, self.at.seq) && !marked {
            self.complain("goes back", event);
        }
        if !self.lenient && kind != "leave" && self.view_by_events.get(&conn).is_some_and(|(_, seen, ..)| *seen > epoch)
        {
            self.complain("has an older epoch", event);
        }
        // The time of a change that a snapshot showed is filled in.
        if !self.lenient
            && kind == "leave"
            && event["ts"] == epoch
            && self.protected.get(&conn).is_some_and(|since| epoch >= *since)
        {
            self.complain("is a false leave", event);
        }
        (self.at, self.resyncing) = (at, marked);
        let known = self.view_by_events.contains_key(&conn);
        if kind == "update" && !known {
            self.complain("is of no one whom it was shown", event);
        }
        if kind == "leave" && marked && !known {
            self.complain("is a marked leave of someone unknown", event);
        }
        if kind == "leave"
            && !marked
            && !self.settling
            && !known
            && event["reason"] != "node_lost"
            && self.seen.get(&conn).is_some_and(|seen| *seen >= epoch)
        {
            self.complain("is a second leave", event);
        }
        self.seen.insert(conn.clone(), epoch);
        for view in [&mut self.view, &mut self.view_by_events] {
            if kind == "leave" {
                view.remove(&conn);
            } else {
                let (info, state) = (event["info"].to_string(), event["state"].to_string());
                view.insert(conn.clone(), (user.clone(), epoch, info, state));
            }
        }
        let others = self.view_by_events.iter().any(|(other, (of, ..))| *other != conn && *of == user);
        let edge = if kind == "join" { &event["userJoined"] } else { &event["userLeft"] };
        if marked && kind != "update" && *edge != !others {
            self.complain("is wrong about the user", event);
        }
    }

    fn sync(&mut self, sync: &Value) {
        let text = |member: &Value, field: &str| member[field].as_str().unwrap().to_owned();
        let entry = |member: &Value| {
            let (info, state) = (member["info"].to_string(), member["state"].to_string());
            let known = (text(member, "userId"), member["epoch"].as_u64().unwrap(), info, state);
            (text(member, "connId"), known)
        };
        self.view = sync["snapshot"].as_array().unwrap().iter().map(entry).collect();
        if self.view != self.view_by_events {
            self.complain("is not what it received", sync);
        }
        self.at = position(sync);
        self.see_all();
        self.syncs += 1;
        self.log.push("sync".to_owned());
        (self.resyncing, self.settling) = (false, false);
    }

    fn see_all(&mut self) {
        for (conn, (_, epoch, ..)) in self.view.clone() {
            self.seen.insert(conn, epoch);
        }
    }

    fn complain(&mut self, what: &str, event: &Value) {
        let complaint = format!("{event} {what}; it stood at {:?}", self.at);
        self.complaints.push(complaint);
    }
}

/// A member in a view. No info is `null`, as a field that is not there.
pub(super) fn entry(member: &Member) -> (String, (String, u64, String, String)) {
    let Member { conn, user, epoch, info, state, .. } = member;
    let info = info.as_ref().map_or("null", Info::as_str).to_owned();
    (conn.as_str().to_owned(), (user.as_str().to_owned(), *epoch, info, state.get().to_owned()))
}

fn position(message: &Value) -> Position {
    Position { generation: message["gen"].as_u64().unwrap(), seq: message["seq"].as_u64().unwrap(), token: 0 }
}
