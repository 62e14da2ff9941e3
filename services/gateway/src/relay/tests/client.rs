//! A member that believes what it is told, and complains of what it must not be told.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use protocol::client::Member;
use serde_json::{Value, value::RawValue};

use crate::relay::{room::Position, seat::Sink};

/// Connections, each with its user, its epoch and its state.
pub(super) type View = BTreeMap<String, (String, u64, String)>;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Client(Rc<RefCell<Told>>);

#[derive(Default)]
pub(super) struct Told {
    /// Whether its queue takes nothing.
    pub(super) full: bool,
    pub(super) at: Position,
    /// By the answer, the events and the syncs.
    pub(super) view: View,
    /// By the answer and the events alone.
    pub(super) view_by_events: View,
    /// Whoever it was shown since the answer, and the last epoch.
    seen: BTreeMap<String, u64>,
    pub(super) complaints: Vec<String>,
    /// How often the room was told that it is gone.
    pub(super) evictions: usize,
    pub(super) syncs: usize,
    /// What it was sent since the answer, in short.
    pub(super) log: Vec<String>,
    /// It was told of changes by marked events, and not yet of the whole.
    pub(super) resyncing: bool,
    /// The room began anew and it was not yet told the whole.
    pub(super) settling: bool,
}

impl Client {
    pub(super) fn told(&self) -> std::cell::RefMut<'_, Told> {
        self.0.borrow_mut()
    }

    /// Its join is answered.
    pub(super) fn answered<'a>(&self, at: Position, members: impl Iterator<Item = &'a Member>) {
        let mut told = self.told();
        told.at = at;
        told.view = members.map(entry).collect();
        told.view_by_events = told.view.clone();
        told.seen = told.view.iter().map(|(conn, (_, epoch, _))| (conn.clone(), *epoch)).collect();
        (told.resyncing, told.settling) = (false, false);
        told.log.clear();
    }
}

impl Sink for Client {
    fn emit(&self, event: &str, message: &RawValue) -> bool {
        let mut told = self.told();
        if told.full {
            return false;
        }
        let message: Value = serde_json::from_str(message.get()).unwrap();
        match event {
            "presence:event" => told.event(&message),
            _ => told.sync(&message),
        }
        true
    }

    fn evicted(&self) {
        self.told().evictions += 1;
    }
}

impl Told {
    fn event(&mut self, event: &Value) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let at = position(event);
        let marked = event["resync"] == true;
        let (kind, conn, user) = (text("type"), text("connId"), text("userId"));
        let epoch = event["epoch"].as_u64().unwrap();
        let edge = event["userJoined"].as_bool().or(event["userLeft"].as_bool());
        let edge = edge.map(|edge| if edge { " first or last" } else { "" }).unwrap_or_default();
        self.log.push(format!("{kind} {conn}{edge}{}", if marked { " resync" } else { "" }));
        if at.birth != self.at.birth {
            self.settling = true;
        }
        if !marked && !self.settling && (self.resyncing || at.seq != self.at.seq + 1) {
            self.complain("is no successor", event);
        }
        if at < self.at && !marked {
            self.complain("goes back", event);
        }
        (self.at, self.resyncing) = (at, marked);
        let known = self.view_by_events.contains_key(&conn);
        if kind == "update" && !known {
            self.complain("is of nobody whom it was shown", event);
        }
        if kind == "leave" && marked && !known {
            self.complain("takes out whom it was not shown", event);
        }
        if kind == "leave"
            && !marked
            && !self.settling
            && !known
            && self.seen.get(&conn).is_some_and(|seen| *seen >= epoch)
        {
            self.complain("takes out whom it was told to be gone", event);
        }
        self.seen.insert(conn.clone(), epoch);
        for view in [&mut self.view, &mut self.view_by_events] {
            if kind == "leave" {
                view.remove(&conn);
            } else {
                let state = event["state"].to_string();
                view.insert(conn.clone(), (user.clone(), epoch, state));
            }
        }
        let others = self.view_by_events.iter().any(|(other, (of, ..))| *other != conn && *of == user);
        let edge = if kind == "join" { &event["userJoined"] } else { &event["userLeft"] };
        if marked && kind != "update" && *edge != !others {
            self.complain("is wrong about the user", event);
        }
    }

    fn sync(&mut self, sync: &Value) {
        let members: Vec<Member> = serde_json::from_value(sync["snapshot"].clone()).unwrap();
        self.view = members.iter().map(entry).collect();
        self.at = position(sync);
        self.syncs += 1;
        self.log.push("sync".to_owned());
        (self.resyncing, self.settling) = (false, false);
    }

    fn complain(&mut self, what: &str, event: &Value) {
        let complaint = format!("{event} {what}; it stood at {:?}", self.at);
        self.complaints.push(complaint);
    }
}

pub(super) fn entry(member: &Member) -> (String, (String, u64, String)) {
    let state = member.state.get().to_owned();
    (member.conn_id.as_str().to_owned(), (member.user_id.as_str().to_owned(), member.epoch, state))
}

fn position(message: &Value) -> Position {
    Position { birth: message["gen"].as_u64().unwrap(), seq: message["seq"].as_u64().unwrap() }
}
