//! Counts what went wrong: error answers, wrong answers, lost connections. Knows nothing of where they come from.

/// How many different texts are kept; the rest is only counted.
const KEPT: usize = 8;

/// A number of faults and the first different texts among them.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    count: u64,
    texts: Vec<String>,
}

impl Faults {
    /// Counts one fault.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.count += 1;
        self.keep(text.into());
    }

    /// Counts the fault of a result, if it is one.
    pub(crate) fn check<T, E: std::fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.note(error.to_string())).ok()
    }

    /// Adds the counts of another one.
    pub(crate) fn absorb(&mut self, other: Faults) {
        self.count += other.count;
        other.texts.into_iter().for_each(|text| self.keep(text));
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The first different texts.
    pub(crate) fn texts(&self) -> &[String] {
        &self.texts
    }

    fn keep(&mut self, text: String) {
        if self.texts.len() < KEPT && !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_all_and_keeps_each_text_once() {
        let mut faults = Faults::default();
        faults.note("lost");
        let mut other = Faults::default();
        other.note("lost");
        other.note("wrong");
        faults.absorb(other);
        assert_eq!((faults.count(), faults.texts().len()), (3, 2));
    }
}
