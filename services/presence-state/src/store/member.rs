//! Members, parsed from stored records.

use rollcall_protocol::command::Member;

use super::content;

/// A member and the code of the gateway that holds its connection.
pub(super) struct Stored {
    pub(super) member: Member,
    pub(super) gateway: String,
}

/// The members of a room from its records; connections and records alternate. A record that cannot be read is skipped.
pub(super) fn stored(records: Vec<String>) -> impl Iterator<Item = Stored> {
    let mut records = records.into_iter();
    std::iter::from_fn(move || Some((records.next()?, records.next()?)))
        .filter_map(|(conn, record)| read(conn, &record))
}

fn read(conn: String, record: &str) -> Option<Stored> {
    let mut lines = record.splitn(5, '\n');
    let (epoch, op) = (lines.next()?.parse().ok()?, lines.next()?.parse().ok()?);
    let (gateway, user) = (lines.next()?.to_owned(), lines.next()?.into());
    let (info, state) = content::read(lines.next()?)?;
    Some(Stored { member: Member { conn: conn.into(), user, epoch, op, info, state }, gateway })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_parsed_and_malformed_ones_are_skipped() {
        let records = [
            ["a", "7\n1\ngateway\nuser\n\n{\"x\":\n1e400}"],
            ["b", "7\n1\ngateway\nuser\n{\"name\": 1e400}\n{}"],
            ["c", "broken"],
            ["d", "7\n1\ng\nu\n{}"],
            ["e", "7\n1\ng\nu\n\n{"],
            ["f", "7\n1\ng\nu\n{\n{}"],
        ];
        let read: Vec<_> = stored(records.as_flattened().iter().map(|text| (*text).to_owned()).collect()).collect();
        let Stored { member, gateway } = &read[0];
        assert_eq!((member.conn.as_str(), member.user.as_str(), member.epoch, member.op), ("a", "user", 7, 1));
        assert_eq!((gateway.as_str(), member.state.get()), ("gateway", "{\"x\":\n1e400}"));
        let infos: Vec<_> =
            read.iter().map(|one| one.member.info.as_ref().map(rollcall_protocol::Info::as_str)).collect();
        assert_eq!(infos, [None, Some("{\"name\": 1e400}")]);
    }
}
