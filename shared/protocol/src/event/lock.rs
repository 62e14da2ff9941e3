//! A change of a lock, as the script that made it publishes it.
//!
//! ```text
//! l1 <acquired|released|expired> <fence> <ms at which it ends> <the operation that acquired it>
//! <traceparent or nothing>
//! <channelType>
//! <lockName>
//! <connId>
//! <userId>
//! ```

/// What happened to a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A connection holds it now.
    Acquired,
    /// Its holder released it, left, or is gone.
    Released,
    /// Its holder did not renew it in time.
    Expired,
}

impl Change {
    fn read(text: &str) -> Option<Self> {
        match text {
            "acquired" => Some(Change::Acquired),
            "released" => Some(Change::Released),
            "expired" => Some(Change::Expired),
            _ => None,
        }
    }
}

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub struct LockEvent<'a> {
    /// What happened.
    pub change: Change,
    /// The fencing token under which it is or was held.
    pub fence: u64,
    /// When it ends unless it is renewed, in milliseconds of Redis' clock.
    pub expires_at_ms: u64,
    /// The holder's operation.
    pub op: u64,
    /// The trace that the change belongs to.
    pub traceparent: Option<&'a str>,
    /// The channel's type; its name is that of the room.
    pub kind: &'a str,
    /// The lock.
    pub name: &'a str,
    /// The connection that holds it, or held it.
    pub conn: &'a str,
    /// Its user.
    pub owner: &'a str,
}

impl<'a> LockEvent<'a> {
    /// Whether a published text is of this kind.
    pub fn is(text: &str) -> bool {
        text.starts_with("l1 ")
    }

    /// Reads a published event; `None` if it is malformed or of a version that this build does not know.
    pub fn read(text: &'a str) -> Option<Self> {
        let mut lines = text.split('\n');
        let mut head = lines.next()?.strip_prefix("l1 ")?.split(' ');
        let change = Change::read(head.next()?)?;
        let mut number = || head.next()?.parse().ok();
        let (fence, expires_at_ms, op) = (number()?, number()?, number()?);
        let traceparent = Some(lines.next()?).filter(|text| !text.is_empty());
        let mut line = || lines.next().filter(|text| !text.is_empty());
        let (kind, name, conn, owner) = (line()?, line()?, line()?, line()?);
        Some(Self { change, fence, expires_at_ms, op, traceparent, kind, name, conn, owner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_published_lock_is_read() {
        let event = LockEvent::read("l1 acquired 9 1700000000001 4\n\nMESSAGE\nthe lock\nc1\nann").unwrap();
        assert_eq!((event.change, event.fence, event.op), (Change::Acquired, 9, 4));
        assert_eq!((event.kind, event.name, event.conn, event.owner), ("MESSAGE", "the lock", "c1", "ann"));
        for text in
            ["", "l2 acquired 9 1 4\n\nT\nl\nc\nu", "l1 lent 9 1 4\n\nT\nl\nc\nu", "l1 acquired 9 1 4\n\nT\nl\nc"]
        {
            assert_eq!(LockEvent::read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(?s).*") {
            let _ = LockEvent::read(&text);
            let _ = LockEvent::read(&format!("l1 {text}"));
        }
    }
}
