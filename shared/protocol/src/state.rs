//! A connection's state: a JSON object that survives to the letter. It is kept as the text that the client sent; only
//! its top level is ever looked at, and only to merge a patch.

use indexmap::IndexMap;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    fault::{Code, Fault},
    json::check_depth,
    limits::MAX_STATE_BYTES,
};

/// Accepts a state or patch: a JSON object within the limits.
///
/// # Errors
/// `INVALID_PAYLOAD` or `TOO_LARGE`, naming `field`.
pub fn check(field: &str, json: &RawValue) -> Result<(), Fault> {
    let text = json.get();
    if !text.starts_with('{') {
        return Err(Fault::invalid(format!("{field} must be an object")));
    }
    check_size(field, text)?;
    check_depth(field, text)?;
    // JSON can spell a key that is no text, half of a surrogate pair, but only by an escape. Without one there is nothing to parse.
    if !text.contains("\\u") {
        return Ok(());
    }
    object(json).map(drop).map_err(|_| Fault::invalid(format!("{field} must have keys of valid Unicode")))
}

fn check_size(field: &str, text: &str) -> Result<(), Fault> {
    if text.len() <= MAX_STATE_BYTES {
        return Ok(());
    }
    Err(Fault::new(Code::TooLarge, format!("{field} must be at most {MAX_STATE_BYTES} bytes of JSON")))
}

/// Merges `patch` shallowly over `state`: its keys replace those of the same name where they stand, new ones follow.
/// `None` when nothing differs, so that a patch which changes nothing makes no event.
///
/// # Errors
/// `TOO_LARGE` when the merged state is over the limit; `INTERNAL` when either is no object (callers checked them).
pub fn merge(state: &RawValue, patch: &RawValue) -> Result<Option<Box<RawValue>>, Fault> {
    let mut fields = object(state)?;
    let mut changed = false;
    for (key, value) in object(patch)? {
        changed |= fields.insert(key, value).is_none_or(|old| old.get() != value.get());
    }
    if !changed {
        return Ok(None);
    }
    // Written by serde, not by hand: a text of our own would have to be parsed once more to be taken for JSON.
    let merged = to_raw_value(&fields).map_err(|_| no_object())?;
    check_size("the patched state", merged.get())?;
    Ok(Some(merged))
}

/// An object's top level, in order; of duplicate keys the last one counts, as in JavaScript.
type Fields<'a> = IndexMap<String, &'a RawValue>;

fn object(json: &RawValue) -> Result<Fields<'_>, Fault> {
    serde_json::from_str(json.get()).map_err(|_| no_object())
}

fn no_object() -> Fault {
    Fault::new(Code::Internal, "a stored state is not an object")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn merged(state: &str, patch: &str) -> Option<String> {
        merge(&raw(state), &raw(patch)).unwrap().map(|json| json.get().to_owned())
    }

    #[test]
    fn a_patch_keeps_every_other_letter() {
        let state =
            r#"{"n":9007199254740993,"big":1e400,"e":[],"o":{},"z":null,"__proto__":{"x":1},"é":"\ud83d\ude00"}"#;
        assert_eq!(
            merged(state, r#"{"e":[1],"new":{}}"#).unwrap(),
            r#"{"n":9007199254740993,"big":1e400,"e":[1],"o":{},"z":null,"__proto__":{"x":1},"é":"\ud83d\ude00","new":{}}"#
        );
    }

    #[test]
    fn what_changes_nothing_is_no_change() {
        for patch in ["{}", r#"{"a":1}"#, r#"{"b":[1, 2]}"#, r#"{"a":1,"b":[1, 2]}"#] {
            assert_eq!(merged(r#"{"a":1,"b":[1, 2]}"#, patch), None, "{patch}");
        }
    }

    #[test]
    fn a_key_that_is_no_text_is_refused() {
        let fault = check("patchState", &raw(r#"{"\ud800":1}"#)).unwrap_err();
        assert_eq!((fault.code, fault.message.contains("patchState")), (Code::InvalidPayload, true));
        assert_eq!(check("state", &raw(r#"{"\ud83d\ude00":"\ud800"}"#)), Ok(()));
    }

    #[test]
    fn many_keys_merge_like_few() {
        let object = |keys: std::ops::Range<usize>, value: usize| {
            let fields: Vec<String> = keys.map(|n| format!(r#""k{n}":{value}"#)).collect();
            format!("{{{}}}", fields.join(","))
        };
        let text = merged(&object(0..300, 1), &object(200..400, 2)).unwrap();
        let expected =
            format!("{},{}", object(0..200, 1).trim_end_matches('}'), object(200..400, 2).trim_start_matches('{'));
        assert_eq!(text, expected);
        assert_eq!(merged(&text, &object(200..400, 2)), None);
        // A key named again and again counts once, the last time.
        assert_eq!(merged("{}", &format!("{{{}}}", [r#""a":1"#; 40].join(","))).as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn limits_are_named() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(check("state", &raw(&deep)).unwrap_err().code, Code::InvalidPayload);
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_STATE_BYTES));
        assert_eq!(check("state", &raw(&long)).unwrap_err().code, Code::TooLarge);
        assert_eq!(check("state", &raw("[]")).unwrap_err().code, Code::InvalidPayload);
        assert_eq!(check("state", &raw(r#"{"a":"[[[{{{\"[["}"#)), Ok(()));
        let half = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_STATE_BYTES / 2));
        let other = format!(r#"{{"b":"{}"}}"#, "x".repeat(MAX_STATE_BYTES / 2));
        assert_eq!(merge(&raw(&half), &raw(&other)).unwrap_err().code, Code::TooLarge);
    }

    proptest! {
        #[test]
        fn a_merge_is_the_merge_of_the_parsed(
            state in proptest::collection::btree_map("[a-e\"\\\\é]{0,2}", 0i64..4, 0..5),
            patch in proptest::collection::btree_map("[a-e\"\\\\é]{0,2}", 0i64..4, 0..5),
        ) {
            let json = |map: &std::collections::BTreeMap<String, i64>| serde_json::to_string(map).unwrap();
            let mut expected = state.clone();
            expected.extend(patch.clone());
            match merged(&json(&state), &json(&patch)) {
                None => prop_assert_eq!(expected, state),
                Some(text) => {
                    let got: std::collections::BTreeMap<String, i64> = serde_json::from_str(&text).unwrap();
                    prop_assert_eq!(&got, &expected);
                    prop_assert_ne!(expected, state);
                }
            }
        }
    }
}
