//! A member that keeps copies of channels and of who holds which lock, as docs/reference/metadata.md has it.

use std::{
    cell::{RefCell, RefMut},
    collections::BTreeMap,
    rc::Rc,
};

use rollcall_protocol::Info;
use serde_json::{Value, value::RawValue};

use super::{KINDS, LOCKS};
use crate::relay::room::Sink;

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Copy {
    pub(super) major: u64,
    pub(super) items: BTreeMap<String, u64>,
}

#[derive(Default)]
pub(super) struct Member {
    /// Whether its queue takes nothing.
    pub(super) full: bool,
    pub(super) copies: [Copy; KINDS.len()],
    /// Fence and owner.
    pub(super) locks: [Option<(u64, String)>; LOCKS.len()],
    /// Who was said to hold a lock under each fence.
    fences: BTreeMap<u64, String>,
    /// Everything that it received.
    pub(super) log: Vec<String>,
}

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Reader(Rc<RefCell<Member>>);

impl Reader {
    pub(super) fn member(&self) -> RefMut<'_, Member> {
        self.0.borrow_mut()
    }
}

impl Sink for Reader {
    fn emit(&self, event: &str, message: &RawValue) -> bool {
        let mut member = self.member();
        if member.full {
            return false;
        }
        member.log.push(message.get().to_owned());
        let received: Value = serde_json::from_str(message.get()).unwrap();
        match event {
            "metadata:event" => {
                let kind = KINDS.iter().position(|kind| received["channelType"] == *kind).unwrap();
                member.copies[kind].hear(&received);
            }
            "lock:event" => member.hear_lock(&received),
            _ => panic!("{event}: {received}"),
        }
        true
    }

    fn evicted(&self, _: u64) {}

    fn recorded(&self, _: u64, _: u64, _: Option<&Info>, _: &str) {}
}

impl Copy {
    fn hear(&mut self, received: &Value) {
        let major = received["majorRevision"].as_u64().unwrap();
        // What is older than the copy, which an answer may have made, is passed over.
        if major < self.major || (major == self.major && received["resync"] != true) {
            return;
        }
        if received["operation"] == "set" {
            self.items.clear();
        } else {
            assert_eq!(major, self.major + 1, "a change is missing before {received}");
        }
        for item in received["items"].as_array().unwrap() {
            let key = item["key"].as_str().unwrap().to_owned();
            if received["operation"] == "remove" {
                self.items.remove(&key);
            } else {
                self.items.insert(key, item["value"].as_u64().unwrap());
            }
        }
        self.major = major;
    }
}

impl Member {
    fn hear_lock(&mut self, received: &Value) {
        let lock = &mut self.locks[LOCKS.iter().position(|name| received["lockName"] == *name).unwrap()];
        let (fence, owner) = (received["fence"].as_u64().unwrap(), received["owner"].as_str().unwrap().to_owned());
        if received["type"] == "acquired" {
            let before = self.fences.entry(fence).or_insert_with(|| owner.clone());
            assert_eq!(*before, owner, "two were said to hold a lock under one fence: {received}");
            *lock = Some((fence, owner));
        } else {
            *lock = None;
        }
    }
}
