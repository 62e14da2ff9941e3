//! What a client may do in which rooms: the claim `rooms`, parsed once.

use std::sync::Arc;

use rollcall_protocol::ids::check_id;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::pattern::Pattern;

/// The most entries of the claim.
const MAX_GRANTS: usize = 64;

/// What may be allowed in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Right {
    /// Be a member.
    #[serde(rename = "join")]
    Join,
    /// See who is there, without being a member.
    #[serde(rename = "observe")]
    Observe,
    /// Read the channels of the room's name.
    #[serde(rename = "metadata:read")]
    MetadataRead,
    /// Write them, and read them.
    #[serde(rename = "metadata:write")]
    MetadataWrite,
    /// Take and wait for locks.
    #[serde(rename = "lock")]
    Lock,
}

impl Right {
    /// The word in the claim.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Observe => "observe",
            Self::MetadataRead => "metadata:read",
            Self::MetadataWrite => "metadata:write",
            Self::Lock => "lock",
        }
    }
}

/// The rights of one client. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rights(Arc<[Grant]>);

#[derive(Debug)]
struct Grant {
    rooms: Pattern,
    /// A bit for each [`Right`].
    rights: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    room: String,
    allow: Vec<Right>,
}

impl Rights {
    /// Whether any entry allows it.
    pub(crate) fn allow(&self, right: Right, room: &str) -> bool {
        self.0.iter().any(|grant| grant.rights & right.bit() != 0 && grant.rooms.matches(room))
    }

    /// The rights that `json`, the claim's value, gives. The error is what is wrong with it, for a sentence that begins with
    /// the name of the claim or setting.
    pub(super) fn parse(json: &str) -> Result<Self, String> {
        let entries: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| "must be a list".to_owned())?;
        if entries.len() > MAX_GRANTS {
            return Err(format!("must have at most {MAX_GRANTS} entries"));
        }
        let grants = entries.iter().enumerate().map(|(index, entry)| {
            Grant::parse(entry.get()).map_err(|what| format!("has a wrong entry [{index}]: {what}"))
        });
        grants.collect::<Result<_, _>>().map(Self)
    }
}

impl Right {
    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The right and what it includes. Each write is answered with the whole channel, so who may write it may read it.
    fn granted(self) -> u8 {
        match self {
            Self::MetadataWrite => self.bit() | Self::MetadataRead.bit(),
            _ => self.bit(),
        }
    }
}

impl Grant {
    fn parse(json: &str) -> Result<Self, String> {
        // serde also takes the list of a struct's values for it.
        let entry: Option<Entry> =
            Some(json).filter(|json| json.starts_with('{')).and_then(|json| serde_json::from_str(json).ok());
        let Entry { room, allow } = entry.ok_or_else(|| {
            "it must have room, a text, and allow, a list of join, observe, metadata:read, metadata:write, lock; \
             nothing else"
                .to_owned()
        })?;
        check_id("room", &room).map_err(|fault| fault.message)?;
        let rooms =
            Pattern::parse(&room).map_err(|_| "* must be a whole segment of room, and ** its last one".to_owned())?;
        Ok(Self { rooms, rights: allow.into_iter().fold(0, |rights, right| rights | right.granted()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Right; 5] = [Right::Join, Right::Observe, Right::MetadataRead, Right::MetadataWrite, Right::Lock];

    fn allowed(rights: &Rights, room: &str) -> Vec<Right> {
        ALL.into_iter().filter(|right| rights.allow(*right, room)).collect()
    }

    #[test]
    fn rights_are_the_union_of_all_matches() {
        let rights = Rights::parse(
            r#"[{"room":"doc:*","allow":["join","metadata:read"]},{"allow":["lock","lock"],"room":"doc:1"},
                {"room":"**","allow":["observe"]},{"room":"lobby","allow":[]}]"#,
        )
        .unwrap();
        assert_eq!(allowed(&rights, "doc:1"), [Right::Join, Right::Observe, Right::MetadataRead, Right::Lock]);
        assert_eq!(allowed(&rights, "doc:2"), [Right::Join, Right::Observe, Right::MetadataRead]);
        assert_eq!(allowed(&rights, "lobby"), [Right::Observe]);
        assert_eq!(allowed(&Rights::parse("[]").unwrap(), "lobby"), []);
        assert_eq!(allowed(&Rights::default(), "lobby"), []);
        let all = Rights::parse(r#"[{"room":"a","allow":["join","observe","metadata:read","metadata:write","lock"]}]"#);
        assert_eq!(allowed(&all.unwrap(), "a"), ALL);
    }

    #[test]
    fn a_wrong_list_is_refused_with_its_entry() {
        for json in ["", "{}", "1", "null", r#""doc:*""#] {
            assert_eq!(Rights::parse(json).unwrap_err(), "must be a list", "{json}");
        }
        for entry in [
            "1",
            "[]",
            r#"["a",["join"]]"#,
            "{}",
            r#"{"room":"a"}"#,
            r#"{"allow":["join"]}"#,
            r#"{"room":1,"allow":["join"]}"#,
            r#"{"room":"a","allow":"join"}"#,
            r#"{"room":"a","allow":["jion"]}"#,
            r#"{"room":"a","allow":["join"],"deny":["lock"]}"#,
            r#"{"room":"","allow":["join"]}"#,
            r#"{"room":"a\nb","allow":["join"]}"#,
            r#"{"room":"doc*","allow":["join"]}"#,
        ] {
            let what = Rights::parse(&format!(r#"[{{"room":"a","allow":[]}},{entry}]"#)).unwrap_err();
            assert!(what.starts_with("has a wrong entry [1]: "), "{entry}: {what}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let list = |count: usize, room: &str| {
            let entry = format!(r#"{{"room":"{room}","allow":["join"]}}"#);
            Rights::parse(&format!("[{}]", vec![entry; count].join(",")))
        };
        assert!(list(64, &"x".repeat(256)).is_ok());
        assert_eq!(list(65, "x").unwrap_err(), "must have at most 64 entries");
        assert!(list(1, &"x".repeat(257)).is_err());
    }
}
