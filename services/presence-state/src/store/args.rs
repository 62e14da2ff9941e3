//! The arguments of a script call for many commands. Their texts share one buffer: on its own, each text would be allocated
//! twice, here and when fred shares it.

use fred::{bytes::Bytes, types::Value};

/// The usual length of a text, for the first allocation.
const USUAL_BYTES: usize = 24;

enum Arg {
    /// The text that ends at this byte of the buffer and begins where the one before it ends.
    Text(usize),
    Number(Value),
}

/// Builds the arguments of a script call.
pub(super) struct Args {
    buffer: Vec<u8>,
    args: Vec<Arg>,
}

impl Args {
    /// Reserves space for `count` arguments.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { buffer: Vec::with_capacity(count * USUAL_BYTES), args: Vec::with_capacity(count) }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.joined(&[text]);
    }

    /// Adds one text of several parts.
    pub(super) fn joined(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part.as_bytes()));
        self.args.push(Arg::Text(self.buffer.len()));
    }

    pub(super) fn number(&mut self, number: impl Into<Value>) {
        self.args.push(Arg::Number(number.into()));
    }

    pub(super) fn into_values(self) -> Vec<Value> {
        let (buffer, mut start) = (Bytes::from(self.buffer), 0);
        let value = |arg| match arg {
            Arg::Text(end) => Value::Bytes(buffer.slice(std::mem::replace(&mut start, end)..end)),
            Arg::Number(value) => value,
        };
        self.args.into_iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_their_order() {
        let mut args = Args::with_capacity(1);
        args.text("a\u{e9}");
        args.number(7);
        args.text("");
        args.number(-1);
        args.joined(&["b", "", "c"]);
        let values: Vec<String> = args.into_values().into_iter().map(|value| value.convert().unwrap()).collect();
        assert_eq!(values, ["a\u{e9}", "7", "", "-1", "bc"]);
    }
}
