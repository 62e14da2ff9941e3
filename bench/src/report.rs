//! The table at the end: each number with its yardstick and its goal. Knows nothing of how a number was measured.

use std::fmt::{Display, Formatter, Result, Write};

use crate::faults::Faults;

/// What scenarios hand in.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The table's rows.
    pub(crate) rows: Vec<Row>,
    /// Sentences below the table: what was chosen, what a number is made of.
    pub(crate) notes: Vec<String>,
    /// Everything that went wrong.
    pub(crate) faults: Faults,
}

/// One number.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    yardstick: Option<f64>,
    goal: Goal,
}

#[derive(Clone, Copy, Debug)]
enum Goal {
    None,
    AtMost(f64),
    AtLeast(f64),
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

impl Row {
    /// A number without yardstick and goal.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, yardstick: None, goal: Goal::None }
    }

    /// Compares it with the same number of the yardstick.
    pub(crate) fn yardstick(self, yardstick: f64) -> Self {
        Self { yardstick: Some(yardstick), ..self }
    }

    /// Reached when not above.
    pub(crate) fn at_most(self, goal: f64) -> Self {
        Self { goal: Goal::AtMost(goal), ..self }
    }

    /// Reached when not below.
    pub(crate) fn at_least(self, goal: f64) -> Self {
        Self { goal: Goal::AtLeast(goal), ..self }
    }

    /// Reached when not above this many times the yardstick.
    pub(crate) fn at_most_times(self, goal: f64) -> Self {
        Self { goal: Goal::RatioAtMost(goal), ..self }
    }

    /// Reached when not below this many times the yardstick.
    pub(crate) fn at_least_times(self, goal: f64) -> Self {
        Self { goal: Goal::RatioAtLeast(goal), ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.yardstick.map(|yardstick| self.value / yardstick)
    }

    /// Whether the goal is reached; none without a goal. A number that could not be measured reaches nothing.
    fn reached(&self) -> Option<bool> {
        match self.goal {
            Goal::None => None,
            Goal::AtMost(goal) => Some(self.value <= goal),
            Goal::AtLeast(goal) => Some(self.value >= goal),
            Goal::RatioAtMost(goal) => Some(self.ratio().is_some_and(|ratio| ratio <= goal)),
            Goal::RatioAtLeast(goal) => Some(self.ratio().is_some_and(|ratio| ratio >= goal)),
        }
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::None => String::new(),
            Goal::AtMost(goal) => format!("≤ {} {}", short(goal), self.unit),
            Goal::AtLeast(goal) => format!("≥ {} {}", short(goal), self.unit),
            Goal::RatioAtMost(goal) => format!("≤ {goal} ×"),
            Goal::RatioAtLeast(goal) => format!("≥ {goal} ×"),
        }
    }
}

impl Report {
    /// Adds another scenario's part.
    pub(crate) fn add(&mut self, other: Report) {
        self.rows.extend(other.rows);
        self.notes.extend(other.notes);
        self.faults.absorb(other.faults);
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        if !self.rows.is_empty() {
            self.table(out)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "- {note}"))?;
        writeln!(out, "- faults (error answers, wrong answers, gaps, lost connections): {}", self.faults.count())?;
        self.faults.texts().iter().try_for_each(|text| writeln!(out, "  - {text}"))
    }
}

impl Report {
    fn table(&self, out: &mut Formatter<'_>) -> Result {
        let head = ["metric", "value", "yardstick", "ratio", "reach", "reached"].map(str::to_owned);
        let body = self.rows.iter().map(|row| {
            [
                row.name.clone(),
                format!("{} {}", short(row.value), row.unit),
                row.yardstick.map_or("–".to_owned(), |value| format!("{} {}", short(value), row.unit)),
                row.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
                row.goal(),
                row.reached().map_or("", |reached| if reached { "yes" } else { "NO" }).to_owned(),
            ]
        });
        let lines = std::iter::once(head).chain(body).collect::<Vec<_>>();
        let widths: [usize; 6] = std::array::from_fn(|column| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
        });
        for (number, line) in lines.iter().enumerate() {
            writeln!(out, "{}", cells(line, widths))?;
            if number == 0 {
                writeln!(
                    out,
                    "|{}",
                    widths.iter().fold(String::new(), |rule, width| rule + &"-".repeat(width + 2) + "|")
                )?;
            }
        }
        writeln!(out)
    }
}

fn cells(line: &[String; 6], widths: [usize; 6]) -> String {
    let mut text = String::from("|");
    for (cell, width) in line.iter().zip(widths) {
        let _ = write!(text, " {cell:width$} |");
    }
    text
}

/// Three or so significant digits, thousands grouped: `12.3`, `0.42`, `43,600`.
fn short(value: f64) -> String {
    if !value.is_finite() {
        return "?".to_owned();
    }
    let digits = match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let whole = text.split('.').next().unwrap_or_default().len();
    let grouped = text.char_indices().map(|(at, digit)| match (whole - at.min(whole)) % 3 {
        0 if at > 0 && at < whole => format!(",{digit}"),
        _ => digit.to_string(),
    });
    grouped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.421, 1.0, 12.34, 125.6, 43_600.4, 1_234_567.0].map(short);
        assert_eq!(texts, ["0.42", "1", "12.3", "126", "43,600", "1,234,567"]);
        assert_eq!(short(f64::NAN), "?");
    }

    #[test]
    fn goals_are_judged_honestly() {
        let row = |value| Row::new("cpu", value, "µs");
        assert_eq!(row(1.0).reached(), None);
        assert_eq!(row(18.1).at_most(18.0).reached(), Some(false));
        assert_eq!(row(18.0).at_least(18.0).reached(), Some(true));
        assert_eq!(row(12.0).yardstick(10.0).at_most_times(1.25).reached(), Some(true));
        assert_eq!(row(13.0).yardstick(10.0).at_most_times(1.25).reached(), Some(false));
        assert_eq!(row(12.0).at_most_times(1.25).reached(), Some(false), "without its yardstick");
        assert_eq!(row(f64::NAN).at_most(1.0).reached(), Some(false));
    }

    #[test]
    fn the_table_is_markdown() {
        let mut report = Report::default();
        report.rows.push(Row::new("CPU per heartbeat", 17.25, "µs").yardstick(14.3).at_most_times(1.25));
        report.faults.note("lost");
        let text = report.to_string();
        assert!(text.contains("| CPU per heartbeat | 17.2 µs | 14.3 µs   | 1.21  | ≤ 1.25 × | yes     |"), "{text}");
        assert!(text.contains("gaps, lost connections): 1\n  - lost"), "{text}");
    }
}
