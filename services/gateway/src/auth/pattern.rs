//! Patterns of room names: segments with `:` between them. `*` is any one segment, a last `**` all segments from there on, at
//! least one. Everything else is itself.

/// A pattern, valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Without the last `**`.
    segments: Box<[Segment]>,
    end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Any,
    Text(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing follows the segments.
    Exact,
    /// `**`: one segment or more follow.
    Rest,
}

/// A pattern has `*` inside a segment, or `**` before its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misplaced;

impl Pattern {
    /// A segment that has more than `*` with a `*` in it is refused: it would look as if it worked.
    pub(super) fn parse(text: &str) -> Result<Self, Misplaced> {
        let (segments, end) = match text.strip_suffix("**") {
            Some("") => return Ok(Self { segments: Box::default(), end: End::Rest }),
            Some(before) => (before.strip_suffix(':').ok_or(Misplaced)?, End::Rest),
            None => (text, End::Exact),
        };
        let segments = segments.split(':').map(Segment::parse).collect::<Result<_, _>>()?;
        Ok(Self { segments, end })
    }

    /// Whether the pattern is that of `room`.
    pub(super) fn matches(&self, room: &str) -> bool {
        let mut rest = room.split(':');
        let is_prefix = self.segments.iter().all(|segment| rest.next().is_some_and(|text| segment.matches(text)));
        is_prefix
            && match self.end {
                End::Exact => rest.next().is_none(),
                End::Rest => rest.next().is_some(),
            }
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, Misplaced> {
        match text {
            "*" => Ok(Self::Any),
            _ if text.contains('*') => Err(Misplaced),
            _ => Ok(Self::Text(text.into())),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Text(own) => **own == *text,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_by_segment() {
        let cases = [
            ("lobby", "lobby", true),
            ("lobby", "lobby2", false),
            ("lobby", "lobby:a", false),
            ("doc:*", "doc:1", true),
            ("doc:*", "doc", false),
            ("doc:*", "doc:1:2", false),
            ("doc:*", "docs:1", false),
            ("doc:*", "doc:", true),
            ("*", "lobby", true),
            ("*", "doc:1", false),
            ("*:1", "doc:1", true),
            ("a:*:c", "a:b:c", true),
            ("a:*:c", "a:b:d", false),
            ("doc:**", "doc:1", true),
            ("doc:**", "doc:1:2:3", true),
            ("doc:**", "doc", false),
            ("doc:**", "document:1", false),
            ("**", "lobby", true),
            ("**", "doc:1:2", true),
            ("*:**", "lobby", false),
            (":**", "lobby:a", false),
            ("a::b", "a::b", true),
            ("a.c", "abc", false),
            ("Doc:*", "doc:1", false),
        ];
        for (pattern, room, expected) in cases {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(room), expected, "{pattern} {room}");
        }
    }

    #[test]
    fn misplaced_stars_are_refused() {
        for text in ["doc*", "*doc", "a:b*:c", "**:a", "a:**:b", "a**", "***", "a:***", "**:**", "doc:**:"] {
            assert_eq!(Pattern::parse(text), Err(Misplaced), "{text}");
        }
    }

    /// The definition, word by word.
    fn reference(pattern: &[&str], room: &[&str]) -> bool {
        match (pattern, room) {
            ([], []) => true,
            (["**"], room) => !room.is_empty(),
            ([first, pattern @ ..], [segment, room @ ..]) => {
                (*first == "*" || first == segment) && reference(pattern, room)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_definition_says(
            pattern in "(a|b|\\*)?(:(a|b|\\*)?){0,3}(:\\*\\*)?|\\*\\*",
            room in "(a|b|c)?(:(a|b)?){0,4}",
        ) {
            let expected = reference(
                &pattern.split(':').collect::<Vec<_>>(),
                &room.split(':').collect::<Vec<_>>(),
            );
            prop_assert_eq!(Pattern::parse(&pattern).unwrap().matches(&room), expected);
        }

        #[test]
        fn a_name_without_stars_is_the_pattern_of_itself_alone(room in "[^*]{0,20}", other in ".{0,20}") {
            let pattern = Pattern::parse(&room).unwrap();
            prop_assert!(pattern.matches(&room));
            prop_assert_eq!(pattern.matches(&other), room == other);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}", room in ".{0,40}") {
            let _ = Pattern::parse(&text).map(|pattern| pattern.matches(&room));
        }
    }
}
