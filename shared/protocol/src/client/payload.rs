//! What the fields of all payloads have in common.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    fault::Fault,
    ids::{ChannelId, check_id},
};

/// The fields of a payload, which has to be an object.
pub(super) fn fields<'a, T: Deserialize<'a>>(event: &str, payload: Option<&'a str>) -> Result<T, Fault> {
    object(payload.unwrap_or_default(), || format!("the payload of {event}"))
}

/// The fields of an object, which `name` names.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str, name: impl Fn() -> String) -> Result<T, Fault> {
    if !text.starts_with('{') {
        return Err(Fault::invalid(format!("{} must be an object", name())));
    }
    // The text is valid JSON and every field is a raw value, which leaves serde two complaints.
    serde_json::from_str(text).map_err(|error| {
        let complaint = if error.is_data() { "names a field twice" } else { "must have keys of valid Unicode" };
        Fault::invalid(format!("{} {complaint}", name()))
    })
}

/// The channel that `channelName` and `channelType` name.
pub(super) fn channel(name: Option<&RawValue>, kind: Option<&RawValue>) -> Result<ChannelId, Fault> {
    let (name, kind) = (id("channelName", name)?, id("channelType", kind)?);
    Ok(ChannelId { name: name.into(), kind: kind.into() })
}

/// A field that is present, even if it is `null`. Everywhere else a `null` is the same as an absent field.
pub(super) fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// An identifier.
pub(super) fn id(field: &str, value: Option<&RawValue>) -> Result<String, Fault> {
    let value = value.ok_or_else(|| Fault::invalid(format!("{field} is missing")))?;
    let text: String =
        serde_json::from_str(value.get()).map_err(|_| Fault::invalid(format!("{field} must be a string")))?;
    check_id(field, &text)?;
    Ok(text)
}

/// A field that is a flag, false if it is absent.
pub(super) fn flag(field: &str, value: Option<&RawValue>) -> Result<bool, Fault> {
    match value.map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Fault::invalid(format!("{field} must be true or false"))),
    }
}

/// A field that is a whole number within bounds.
pub(super) fn number(field: &str, value: &RawValue, least: u64, most: u64) -> Result<u64, Fault> {
    whole(value)
        .and_then(|number| number.try_into().ok())
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| Fault::invalid(format!("{field} must be a whole number from {least} to {most}")))
}

/// A number whose value is whole, however it is written: `5000`, `5000.0`, `5e3`. Languages with one type of number write
/// whole numbers like that. The digits are read as they are: a floating-point number would lose a fraction from 2^52 on.
pub(super) fn whole(value: &RawValue) -> Option<i64> {
    let text = value.get();
    text.parse().ok().or_else(|| decimal(text))
}

/// A JSON number with a point or an exponent, if its value is whole and an `i64` holds it.
fn decimal(text: &str) -> Option<i64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !integer.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return None; // JSON, but no number.
    }
    let (mut digits, mut zeros) = (0i64, 0i32);
    for digit in integer.trim_start_matches('-').bytes().chain(fraction.bytes()).map(|byte| i64::from(byte - b'0')) {
        // Zeros at the end count only if a digit follows.
        if digit == 0 && digits != 0 {
            zeros = zeros.checked_add(1)?;
        } else if digit != 0 {
            digits = shift(digits, zeros.checked_add(1)?)?.checked_add(digit)?;
            zeros = 0;
        }
    }
    if digits == 0 {
        return Some(0);
    }
    let places = exponent.parse::<i32>().ok()?.checked_add(zeros)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let number = shift(digits, places)?;
    Some(if text.starts_with('-') { -number } else { number })
}

/// `number` times ten to the power of `places`, none if that is not whole or too large.
fn shift(number: i64, places: i32) -> Option<i64> {
    10i64.checked_pow(u32::try_from(places).ok()?)?.checked_mul(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_whole_if_its_value_is() {
        let read = |text: &str| whole(serde_json::from_str(text).unwrap());
        for (text, number) in [
            ("5000.0", 5_000),
            ("1.79570397037e12", 1_795_703_970_370),
            ("2E0", 2),
            ("-1.0", -1),
            ("-0", 0),
            ("-0.0", 0),
            ("0e99999999999", 0),
            ("1e3", 1_000),
            ("1E+3", 1_000),
            ("120.50e1", 1_205),
            ("5000e-3", 5),
            ("4503599627370497.0", 4_503_599_627_370_497),
            ("9.007199254740991e15", 9_007_199_254_740_991),
            ("9007199254740991.000", 9_007_199_254_740_991),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in [
            "1.5",
            "1e-1",
            "5001e-3",
            "9007199254740990.6",
            "1e400",
            "1e99999999999",
            "\"1\"",
            "\"\"",
            "true",
            "null",
            "[1]",
            "{}",
            "\"1e3\"",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
