//! A member of a room: joins it, sends heartbeats, each n-th with a patch, and watches the room's events.

use std::io;

use super::sequence::Sequence;
use super::{Actor, Role};
use crate::client::Client;
use crate::client::scan::Needle;

static OK: Needle = Needle::new(r#""ok":true"#);
static CHANGED: Needle = Needle::new(r#""changed":true"#);
static UNCHANGED: Needle = Needle::new(r#""changed":false"#);
static STALE: Needle = Needle::new(r#""stale""#);
static REJOINED: Needle = Needle::new(r#""rejoined""#);
static EPOCH: Needle = Needle::new(r#""epoch":"#);
static OWN: Needle = Needle::new(r#""self":{"#);

/// A joined member.
#[derive(Debug)]
pub(crate) struct Member {
    sequence: Sequence,
    epoch: u64,
    patch_every: u64,
    turn: u64,
    patches: u64,
    payload: String,
    /// The last right answers to a plain heartbeat and to a patch: an answer equal to one of them needs no second look.
    known: [Vec<u8>; 2],
}

impl Member {
    /// Joins `client` to a room.
    pub(crate) async fn join(mut client: Client, room: &str, user: &str) -> io::Result<Actor<Self>> {
        let answer = client.call("presence:join", &join_payload(room, user)).await?;
        let role = Self::joined(&answer).map_err(io::Error::other)?;
        Ok(Actor::new(client, role))
    }

    /// Patches with every `every`-th heartbeat; `turn` spreads the members over the cycle.
    pub(crate) fn patch_every(&mut self, every: u64, turn: u64) {
        (self.patch_every, self.turn) = (every, turn);
    }

    /// How many patches were answered.
    pub(crate) fn patches(&self) -> u64 {
        self.patches
    }

    /// What the member saw of its room.
    pub(crate) fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    fn joined(answer: &[u8]) -> Result<Self, String> {
        let epoch = joined_epoch(answer)?;
        let payload = format!(r#"{{"epoch":{epoch}}}"#);
        let sequence = Sequence::start(answer)?;
        Ok(Self { sequence, epoch, patch_every: u64::MAX, turn: 1, patches: 0, payload, known: [vec![], vec![]] })
    }

    fn patching_now(&self) -> bool {
        self.turn.is_multiple_of(self.patch_every)
    }
}

impl Role for Member {
    fn request(&mut self) -> (&'static str, &str) {
        self.turn += 1;
        if self.patching_now() {
            self.payload = format!(r#"{{"epoch":{},"patchState":{{"n":{}}}}}"#, self.epoch, self.turn);
        } else if self.patch_every != u64::MAX {
            self.payload = format!(r#"{{"epoch":{}}}"#, self.epoch);
        }
        ("presence:heartbeat", &self.payload)
    }

    fn answer(&mut self, body: &[u8]) -> Result<(), String> {
        let patched = self.patching_now();
        self.patches += u64::from(patched);
        let known = &mut self.known[usize::from(patched)];
        if body == known {
            return Ok(());
        }
        let right = OK.is_in(body)
            && if patched { &CHANGED } else { &UNCHANGED }.is_in(body)
            && !STALE.is_in(body)
            && !REJOINED.is_in(body)
            && EPOCH.number_after(body) == Some(self.epoch);
        if !right {
            return Err(format!("a heartbeat (patch: {patched}) answered {}", String::from_utf8_lossy(body)));
        }
        body.clone_into(known);
        Ok(())
    }

    fn event(&mut self, name: &[u8], body: &[u8]) -> Result<(), String> {
        match name {
            b"presence:event" => self.sequence.event(body),
            b"presence:sync" => self.sequence.sync(body),
            other => Err(format!("an unexpected event {}", String::from_utf8_lossy(other))),
        }
    }

    fn conclusion(&self) -> Result<(), String> {
        self.sequence.conclusion()
    }
}

/// The payload of a join, with a small state.
pub(crate) fn join_payload(room: &str, user: &str) -> String {
    format!(r#"{{"roomId":"{room}","userId":"{user}","state":{{"status":"online","n":0}}}}"#)
}

/// The epoch that the answer to a join gives its own connection.
pub(crate) fn joined_epoch(answer: &[u8]) -> Result<u64, String> {
    let own = OWN.rest_after(answer).filter(|_| OK.is_in(answer));
    own.and_then(|own| EPOCH.number_after(own))
        .ok_or_else(|| format!("a join answered {}", String::from_utf8_lossy(&answer[..answer.len().min(300)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOINED: &[u8] = br#"{"ok":true,"snapshot":[{"connId":"a","userId":"u","state":{},"lastSeenMs":1,"epoch":3}],"self":{"connId":"b","epoch":9},"seq":2,"gen":7}"#;

    #[test]
    fn takes_its_own_epoch_and_not_the_snapshot_s() {
        let member = Member::joined(JOINED).unwrap();
        assert_eq!((member.epoch, member.sequence().seq()), (9, 2));
    }

    #[test]
    fn a_refused_join_is_a_fault() {
        assert!(Member::joined(br#"{"ok":false,"error":"No.","code":"UNAVAILABLE"}"#).is_err());
    }

    #[test]
    fn each_kind_of_heartbeat_has_its_right_answer() {
        let mut member = Member::joined(JOINED).unwrap();
        member.patch_every(2, 0);
        assert_eq!(member.request().1, r#"{"epoch":9}"#);
        for _ in 0..2 {
            assert_eq!(member.answer(br#"{"ok":true,"changed":false,"epoch":9}"#), Ok(()));
        }
        assert_eq!(member.request().1, r#"{"epoch":9,"patchState":{"n":2}}"#);
        assert!(member.answer(br#"{"ok":true,"changed":false,"epoch":9}"#).is_err());
        assert_eq!(member.answer(br#"{"ok":true,"changed":true,"epoch":9}"#), Ok(()));
        member.request();
        assert!(member.answer(br#"{"ok":true,"changed":false,"stale":true,"epoch":10}"#).is_err());
    }
}
