//! A stored record and what clients see of it.

use std::collections::HashMap;

use protocol::client::Member;
use serde_json::value::RawValue;

/// Members from a room's records and its last-seen scores, in the order of the latter: who has not both is none.
pub(super) fn members(records: Vec<String>, seen: Vec<String>) -> Vec<Member> {
    let mut records: HashMap<String, String> = pairs(records).collect();
    pairs(seen)
        .filter_map(|(conn, seen)| {
            let record = records.remove(&conn)?;
            member(conn, &record, seen.parse().unwrap_or(0))
        })
        .collect()
}

fn member(conn: String, record: &str, last_seen_ms: u64) -> Option<Member> {
    let mut lines = record.splitn(5, '\n');
    let epoch = lines.next()?.parse().ok()?;
    let (_op, _node, user) = (lines.next()?, lines.next()?, lines.next()?);
    let state = RawValue::from_string(lines.next()?.to_owned()).ok()?;
    Some(Member { conn_id: conn.into(), user_id: user.into(), state, last_seen_ms, epoch })
}

fn pairs(flat: Vec<String>) -> impl Iterator<Item = (String, String)> {
    let mut flat = flat.into_iter();
    std::iter::from_fn(move || Some((flat.next()?, flat.next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parts: &[&str]) -> Vec<String> {
        parts.iter().map(|part| (*part).to_owned()).collect()
    }

    #[test]
    fn who_has_a_record_and_a_score_is_a_member() {
        let records = text(&["a", "7\n1\nnode\nuser\n{\"x\":1e400}", "b", "8\n1\nnode\nuser\n{}", "c", "broken"]);
        let members = members(records, text(&["a", "1000", "ghost", "1000", "c", "1000"]));
        assert_eq!(members.len(), 1);
        assert_eq!((members[0].epoch, members[0].last_seen_ms), (7, 1000));
        assert_eq!(members[0].state.get(), "{\"x\":1e400}");
    }
}
