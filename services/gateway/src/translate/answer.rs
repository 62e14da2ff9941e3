//! Builds acknowledgements from presence-state's answers.

use rollcall_protocol::{
    ChannelId, Fault, Info,
    client::{
        ChannelAnswer, ChannelItem, HeldRejection, List, ListedLock, LockAnswer, LocksAnswer, Member, Object, Rejection,
    },
    command::{
        self,
        lock::Held,
        metadata::{Item, Record},
    },
};
use serde::Serialize;

/// A member, as of `read_ms`.
pub(crate) fn member(member: &command::Member, read_ms: u64) -> Member<'_> {
    let command::Member { conn, user, epoch, info, state, .. } = member;
    let info = info.as_ref().map(Info::json);
    Member { conn_id: conn, user_id: user, state, info, last_seen_ms: read_ms, epoch: *epoch }
}

/// A channel's record.
pub(crate) fn channel<'a>(channel: &'a ChannelId, record: &'a Record) -> ChannelAnswer<'a, impl Serialize + use<'a>> {
    ChannelAnswer {
        ok: true,
        timestamp: record.timestamp,
        channel_name: &channel.name,
        channel_type: &channel.kind,
        total_count: record.items.len(),
        major_revision: record.major_revision,
        metadata: Object(record.items.iter().map(|item| (&item.key, channel_item(item)))),
    }
}

fn channel_item(item: &Item) -> ChannelItem<'_> {
    let Item { value, revision, updated, author, .. } = item;
    ChannelItem { value, revision: *revision, updated: *updated, author_uid: author.as_ref() }
}

/// A lock that the client holds.
pub(crate) fn lock(held: &Held) -> LockAnswer<'_> {
    LockAnswer { ok: true, lock_name: &held.lock.name, fence: held.fence, expires_at: held.expires_at_ms }
}

/// The locks that are held.
pub(crate) fn locks(held: &[Held]) -> LocksAnswer<impl Serialize + use<'_>> {
    LocksAnswer { ok: true, locks: List(held.iter().map(listed_lock)) }
}

fn listed_lock(held: &Held) -> ListedLock<'_> {
    let Held { lock, owner, conn, fence, expires_at_ms } = held;
    ListedLock { lock_name: &lock.name, owner, conn_id: conn, fence: *fence, expires_at: *expires_at_ms }
}

/// A rejection that names the holder of the lock.
pub(crate) fn lock_held<'a>(fault: &'a Fault, holder: &'a Held) -> HeldRejection<'a> {
    HeldRejection { rejection: Rejection::from(fault), owner: &holder.owner, expires_at: holder.expires_at_ms }
}

#[cfg(test)]
mod tests {
    use rollcall_protocol::{Code, LockId};

    use super::*;

    fn held() -> Held {
        let channel = ChannelId { name: "c".into(), kind: "T".into() };
        let lock = LockId { channel, name: "l".into() };
        Held { lock, owner: "ann".into(), conn: "c1".into(), fence: 7, expires_at_ms: 9 }
    }

    fn json(answer: &impl Serialize) -> String {
        serde_json::to_string(answer).unwrap()
    }

    #[test]
    fn an_info_stands_behind_the_state_or_nowhere() {
        let (text, member) = (r#"{"name":"Ann"}"#, |info| command::Member {
            conn: "c1".into(),
            user: "ann".into(),
            epoch: 6,
            op: 4,
            info,
            state: serde_json::from_str("{}").unwrap(),
        });
        let without = r#"{"connId":"c1","userId":"ann","state":{},"lastSeenMs":9,"epoch":6}"#;
        assert_eq!(json(&super::member(&member(None), 9)), without);
        let with = without.replace(r#""state":{}"#, &format!(r#""state":{{}},"info":{text}"#));
        assert_eq!(json(&super::member(&member(serde_json::from_str(text).unwrap()), 9)), with);
    }

    #[test]
    fn locks_name_their_holder_and_expiry() {
        assert_eq!(json(&lock(&held())), r#"{"ok":true,"lockName":"l","fence":7,"expiresAt":9}"#);
        let listed = r#"{"lockName":"l","owner":"ann","connId":"c1","fence":7,"expiresAt":9}"#;
        assert_eq!(json(&locks(&[held(), held()])), format!(r#"{{"ok":true,"locks":[{listed},{listed}]}}"#));
        let rejection = r#"{"ok":false,"error":"no","code":"LOCK_HELD","owner":"ann","expiresAt":9}"#;
        assert_eq!(json(&lock_held(&Fault::new(Code::LockHeld, "no"), &held())), rejection);
    }
}
