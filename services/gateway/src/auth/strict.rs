//! JSON in which no object has two members of one name. RFC 7519 (4) lets a parser take the last of them, and parsers differ:
//! what one party checked would not be what another reads.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

/// Whether `text` is one JSON object, and neither it nor an object in it has duplicate members. Nesting is bounded by
/// serde_json (128 levels).
pub(super) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<Strict>(text).is_ok()
}

/// Any JSON value. Names are compared as they are meant: `"\u0065xp"` is `"exp"`.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, Self)) = map.next_entry::<String, Self>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while let Some(Self) = list.next_element()? {}
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::is_object;

    #[test]
    fn duplicate_members_are_refused_at_any_depth() {
        for text in [r#"{}"#, r#" {"a":1,"b":{"a":1},"c":[{"a":null},{"a":true}],"d":-1.5}"#, r#"{"exp":1,"Exp":2}"#] {
            assert!(is_object(text), "{text}");
        }
        for text in
            [r#"{"a":1,"a":1}"#, r#"{"exp":1,"\u0065xp":2}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"a":[0,{"b":1,"b":2}]}"#]
        {
            assert!(!is_object(text), "{text}");
        }
    }

    #[test]
    fn only_one_whole_object_is_one() {
        for text in ["", "[]", "[{}]", "1", "null", "\"{}\"", "{} {}", "{", r#"{"a":"\ud800"}"#] {
            assert!(!is_object(text), "{text}");
        }
        let nested = |levels| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(is_object(&nested(100)));
        assert!(!is_object(&nested(4_000)));
    }
}
