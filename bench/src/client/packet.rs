//! Socket.IO packets inside Engine.IO messages, scanned and not parsed: the load side must stay cheaper than the servers.
//!
//! It must not know what the events mean.

use super::scan::number;

/// What a server's text message is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// `0{…}`: Engine.IO is open.
    Open,
    /// `40{…}`: the namespace is joined.
    Connected,
    /// `43<id>[…]`: the answer to request `id`, without the brackets.
    Answer { id: u64, body: &'a [u8] },
    /// `42["name",…]`: an event; the body is everything after the name.
    Event { name: &'a [u8], body: &'a [u8] },
    /// Anything else.
    Other(&'a [u8]),
}

/// Tells what `text` is.
pub(crate) fn parse(text: &[u8]) -> Packet<'_> {
    let known = match text {
        [b'4', b'3', rest @ ..] => answer(rest),
        [b'4', b'2', b'[', b'"', rest @ ..] => event(rest),
        [b'4', b'0', ..] => Some(Packet::Connected),
        [b'0', ..] => Some(Packet::Open),
        _ => None,
    };
    known.unwrap_or(Packet::Other(text))
}

fn answer(rest: &[u8]) -> Option<Packet<'_>> {
    let (id, digits) = number(rest)?;
    let body = rest[digits..].strip_prefix(b"[")?.strip_suffix(b"]")?;
    Some(Packet::Answer { id, body })
}

fn event(rest: &[u8]) -> Option<Packet<'_>> {
    let end = memchr::memchr(b'"', rest)?;
    let body = rest[end + 1..].strip_suffix(b"]")?;
    Some(Packet::Event { name: &rest[..end], body: body.strip_prefix(b",").unwrap_or(body) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_packets_apart() {
        assert_eq!(parse(br#"0{"sid":"a"}"#), Packet::Open);
        assert_eq!(parse(br#"40{"sid":"a"}"#), Packet::Connected);
        assert_eq!(parse(br#"4317[{"ok":true}]"#), Packet::Answer { id: 17, body: br#"{"ok":true}"# });
        assert_eq!(parse(br#"42["e",{"a":[1]}]"#), Packet::Event { name: b"e", body: br#"{"a":[1]}"# });
        assert_eq!(parse(br#"42["e"]"#), Packet::Event { name: b"e", body: b"" });
    }

    #[test]
    fn broken_packets_are_not_guessed_at() {
        for text in
            [&b""[..], b"4", b"43", b"43[1]", b"437", b"437[", b"42[", b"42[\"e", b"42[\"e\"", b"41", b"44{}", b"22"]
        {
            assert_eq!(parse(text), Packet::Other(text), "{}", String::from_utf8_lossy(text));
        }
    }
}
