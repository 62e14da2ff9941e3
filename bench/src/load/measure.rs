//! What one window of load gave: answers, events, CPU and latencies. Knows nothing of servers or clients.

use std::fmt::Write;
use std::time::Duration;

/// CPU time by process.
pub(crate) type Cpu = Vec<(&'static str, Duration)>;

/// The measurements of one window, or of several added up.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    /// How long was measured.
    pub(crate) elapsed: Duration,
    /// Requests answered meanwhile.
    pub(crate) answers: u64,
    /// Events received by all clients meanwhile.
    pub(crate) events: u64,
    /// CPU time that the servers used meanwhile.
    pub(crate) cpu: Cpu,
    /// Microseconds from request to answer.
    pub(crate) latencies_us: Vec<u32>,
}

impl Measure {
    /// Adds another window of the same load.
    pub(crate) fn add(&mut self, other: Measure) {
        self.elapsed += other.elapsed;
        self.answers += other.answers;
        self.events += other.events;
        self.latencies_us.extend(other.latencies_us);
        for (name, time) in other.cpu {
            match self.cpu.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += time,
                None => self.cpu.push((name, time)),
            }
        }
    }

    /// Microseconds of CPU an answer, of all servers together.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu.iter().map(|(_, time)| self.per_answer_us(*time)).sum()
    }

    /// Microseconds of CPU an event received, of all servers together.
    pub(crate) fn cpu_us_per_event(&self) -> f64 {
        self.cpu_us() * self.answers as f64 / self.events as f64
    }

    /// The CPU an answer by process, in words.
    pub(crate) fn cpu_by_process(&self) -> String {
        let mut text = String::new();
        for (name, time) in &self.cpu {
            let separator = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{separator}{name} {:.1}", self.per_answer_us(*time));
        }
        text
    }

    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }

    /// Events received a second.
    pub(crate) fn event_rate(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency in milliseconds under which `share` of all answers stayed.
    pub(crate) fn latency_ms(&self, share: f64) -> f64 {
        quantile_ms(&self.latencies_us, share)
    }

    fn per_answer_us(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.answers as f64
    }
}

/// The milliseconds under which `share` of all these microseconds stay.
pub(crate) fn quantile_ms(latencies_us: &[u32], share: f64) -> f64 {
    let mut sorted = latencies_us.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() as f64 * share) as usize;
    sorted.get(rank.min(sorted.len().saturating_sub(1))).map_or(f64::NAN, |us| f64::from(*us) / 1000.0)
}

/// What was used between two readings.
pub(crate) fn used(before: &Cpu, after: &Cpu) -> Cpu {
    before.iter().zip(after).map(|((name, before), (_, after))| (*name, after.saturating_sub(*before))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_add_up() {
        let window = |answers, us: u64| Measure {
            elapsed: Duration::from_secs(1),
            answers,
            events: 10,
            cpu: vec![("gateway", Duration::from_micros(us)), ("redis", Duration::from_micros(us))],
            latencies_us: vec![1000; 10],
        };
        let mut sum = Measure::default();
        sum.add(window(100, 500));
        sum.add(window(300, 1500));
        assert_eq!((sum.rate(), sum.event_rate(), sum.cpu_us()), (200.0, 10.0, 10.0));
        assert_eq!(sum.cpu_by_process(), "gateway 5.0, redis 5.0");
    }

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let measure = Measure { latencies_us: (1..=1000).rev().map(|ms| ms * 1000).collect(), ..Measure::default() };
        assert_eq!(
            (measure.latency_ms(0.5), measure.latency_ms(0.99), measure.latency_ms(1.0)),
            (501.0, 991.0, 1000.0)
        );
        assert!(Measure::default().latency_ms(0.5).is_nan());
    }
}
