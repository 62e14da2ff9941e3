//! What every JSON text from outside has to keep to, whatever it means.

use crate::{fault::Fault, limits::MAX_DEPTH};

/// Refuses a valid JSON text that is nested too deeply.
pub(crate) fn check_depth(field: &str, text: &str) -> Result<(), Fault> {
    if depth(text) <= MAX_DEPTH {
        return Ok(());
    }
    Err(Fault::invalid(format!("{field} must not be nested deeper than {MAX_DEPTH} levels")))
}

/// Brackets inside strings do not count.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A valid JSON text without the white space between its tokens.
pub(crate) fn compact(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let is_kept = |c: &char| {
        let is_end = *c == '"' && !escaped;
        escaped = in_string && *c == '\\' && !escaped;
        let kept = in_string || !c.is_ascii_whitespace();
        in_string ^= is_end;
        kept
    };
    text.chars().filter(is_kept).collect()
}
