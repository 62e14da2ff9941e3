//! A state and a patch, each on a line: what passes the checks is merged as JavaScript's `{...state, ...patch}`, and a second time
//! nothing changes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_protocol::{
    Code,
    state::{check, merge},
};
use serde_json::{Map, Value, value::RawValue};

fuzz_target!(|text: &str| {
    let Some((state, patch)) = text.split_once('\n') else { return };
    let read = |field, text| -> Option<Box<RawValue>> {
        let json: Box<RawValue> = serde_json::from_str(text).ok()?;
        check(field, &json).is_ok().then_some(json)
    };
    let (Some(state), Some(patch)) = (read("state", state), read("patchState", patch)) else { return };
    let merged = match merge(&state, &patch) {
        Ok(Some(merged)) => merged,
        Ok(None) => state.clone(),
        Err(fault) => return assert_eq!(fault.code, Code::TooLarge),
    };
    check("the patched state", &merged).expect("a merged state is a state");
    if let Some(expected) = spread(&state, &patch) {
        assert_eq!(spread(&merged, &merged), Some(expected));
    }
    assert!(merge(&merged, &patch).expect("it fitted before").is_none());
});

/// `{...state, ...patch}`; `None` if serde cannot hold one of the numbers.
fn spread(state: &RawValue, patch: &RawValue) -> Option<Map<String, Value>> {
    let mut fields: Map<String, Value> = serde_json::from_str(state.get()).ok()?;
    fields.extend(serde_json::from_str::<Map<String, Value>>(patch.get()).ok()?);
    Some(fields)
}
