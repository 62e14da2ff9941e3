//! Looks for texts in JSON without parsing it. The states that the bench writes contain none of them.

use std::sync::OnceLock;

use memchr::memmem::Finder;

/// A text to look for, prepared at its first use: preparing costs more than looking through an event.
pub(crate) struct Needle {
    text: &'static str,
    finder: OnceLock<Finder<'static>>,
}

impl Needle {
    /// A needle for a `static`.
    pub(crate) const fn new(text: &'static str) -> Self {
        Self { text, finder: OnceLock::new() }
    }

    /// Whether the text is there.
    pub(crate) fn is_in(&self, body: &[u8]) -> bool {
        self.finder().find(body).is_some()
    }

    /// What follows the first such text.
    pub(crate) fn rest_after<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        self.finder().find(body).map(|at| &body[at + self.text.len()..])
    }

    /// The whole number right after the first such text (`"seq":`).
    pub(crate) fn number_after(&self, body: &[u8]) -> Option<u64> {
        self.rest_after(body).and_then(number).map(|(number, _)| number)
    }

    /// The whole numbers right after each such text; none where no number follows.
    pub(crate) fn numbers_after<'a>(&'a self, body: &'a [u8]) -> impl Iterator<Item = Option<u64>> + 'a {
        let rests = self.finder().find_iter(body).map(|at| &body[at + self.text.len()..]);
        rests.map(|rest| number(rest).map(|(number, _)| number))
    }

    fn finder(&self) -> &Finder<'static> {
        self.finder.get_or_init(|| Finder::new(self.text))
    }
}

/// The whole number at the start of `bytes` and how many digits it has.
pub(crate) fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let digits = bytes.iter().take(19).take_while(|byte| byte.is_ascii_digit()).count();
    let number = bytes[..digits].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    (digits > 0).then_some((number, digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    static SEQ: Needle = Needle::new(r#""seq":"#);

    #[test]
    fn finds_numbers() {
        assert_eq!(SEQ.number_after(br#"{"gen":1764000000000000,"seq":7}"#), Some(7));
        assert_eq!(SEQ.number_after(br#"{"seq":1764000000000000}"#), Some(1_764_000_000_000_000));
        assert_eq!(SEQ.number_after(br#"{"seq":null}"#), None);
        assert_eq!(SEQ.number_after(b"{}"), None);
        assert_eq!(SEQ.numbers_after(br#""seq":1,"seq":x,"seq":3"#).collect::<Vec<_>>(), [Some(1), None, Some(3)]);
    }

    #[test]
    fn finds_texts() {
        assert!(SEQ.is_in(br#"{"seq":7}"#) && !SEQ.is_in(br#"{"sequence":7}"#));
        assert_eq!(SEQ.rest_after(br#"{"seq":7}"#), Some(&b"7}"[..]));
    }
}
