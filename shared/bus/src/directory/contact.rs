//! What the answers of one server say about its history: whether its data continues from what it held before.
//! No I/O and no clock of its own.

/// Redis counts as silent after this time without an answer: two renewals of the lease.
pub(crate) const SILENT_AFTER_MS: u64 = 1_500;

/// A clock that moved by more than this against ours between two answers was set. A slewed clock gains 0.25 ms between two
/// answers.
const CLOCK_STEP_MS: i64 = 1_000;

/// Why a server's data may not continue from what it held before. Each begins a truce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// This instance has just started and knows no other instance yet.
    Start,
    /// Redis did not acknowledge the lease for 1.5 s or longer.
    Silence,
    /// Redis has another replication id: it restarted, or a replica was promoted. Or it has lost the own lease.
    History,
    /// Redis' clock stepped by more than a second.
    Clock,
}

impl Why {
    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Start => "start",
            Why::Silence => "silence",
            Why::History => "history",
            Why::Clock => "clock",
        }
    }
}

/// One acknowledged exchange with a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// When it was sent, in milliseconds of the local monotonic clock.
    pub(crate) sent_ms: u64,
    /// When the answer was received, by the same clock.
    pub(crate) answered_ms: u64,
    /// The server's clock between the two, in milliseconds since 1970.
    pub(crate) redis_ms: u64,
    /// The server's replication id. It changes when the server restarts and when a replica is promoted.
    pub(crate) replication_id: String,
}

impl Exchange {
    /// The server's clock minus ours lies between these two.
    fn offset(&self) -> (i64, i64) {
        let redis = self.redis_ms as i64;
        (redis - self.answered_ms as i64, redis - self.sent_ms as i64)
    }

    /// The server's clock minus ours, accurate to half the round trip.
    pub(crate) fn clock_offset_ms(&self) -> i64 {
        let (low, high) = self.offset();
        low + (high - low) / 2
    }
}

/// The last exchange with a server, and the last break of its history.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    last: Option<Exchange>,
    last_break: Option<Break>,
}

#[derive(Debug)]
struct Break {
    /// When the break was noticed, in milliseconds of the local clock.
    noticed_ms: u64,
    /// The last answer before the break, by the server's clock.
    calm_ms: u64,
}

impl Contact {
    /// Records the next exchange. `broke`: the history may have been broken for a reason that an exchange does not show.
    /// Returns why the exchange itself shows a break; `Why::Start` for the first one.
    pub(crate) fn observe(&mut self, exchange: Exchange, broke: bool) -> Option<Why> {
        let why = match &self.last {
            None => Some(Why::Start),
            Some(last) if last.replication_id != exchange.replication_id => Some(Why::History),
            Some(last) if stepped(last.offset(), exchange.offset()) => Some(Why::Clock),
            Some(last) if exchange.answered_ms.saturating_sub(last.answered_ms) >= SILENT_AFTER_MS => {
                Some(Why::Silence)
            }
            Some(_) => None,
        };
        let now_ms = exchange.answered_ms;
        if let Some(last) = self.last.replace(exchange)
            && (broke || why.is_some())
        {
            self.record_break(now_ms, last.redis_ms);
        }
        why
    }

    /// Records a break: at `calm_ms` of the server's clock nothing was lost yet; since then something may be.
    pub(crate) fn record_break(&mut self, now_ms: u64, calm_ms: u64) {
        self.last_break = Some(Break { noticed_ms: now_ms, calm_ms });
    }

    /// The last moment at which the server was known to have lost nothing, by its clock: its last answer, or, for `lasts_ms`
    /// after a break was noticed, the last answer before that. 0 before the first answer.
    pub(crate) fn calm_ms(&self, now_ms: u64, lasts_ms: u64) -> u64 {
        match (&self.last_break, &self.last) {
            (Some(broke), _) if now_ms.saturating_sub(broke.noticed_ms) < lasts_ms => broke.calm_ms,
            (_, last) => last.as_ref().map_or(0, |last| last.redis_ms),
        }
    }

    /// The server's clock minus ours; `None` before the first answer.
    pub(crate) fn clock_offset_ms(&self) -> Option<i64> {
        self.last.as_ref().map(Exchange::clock_offset_ms)
    }

    /// When the last answer was received, in milliseconds of the local clock; `None` before the first.
    pub(crate) fn answered_ms(&self) -> Option<u64> {
        self.last.as_ref().map(|last| last.answered_ms)
    }
}

/// Whether two ranges of offsets are further apart than a step. A slow answer has a wide range and proves no step.
fn stepped(before: (i64, i64), now: (i64, i64)) -> bool {
    now.0 - before.1 > CLOCK_STEP_MS || before.0 - now.1 > CLOCK_STEP_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(sent_ms: u64, answered_ms: u64, redis_ms: u64, id: &str) -> Exchange {
        Exchange { sent_ms, answered_ms, redis_ms, replication_id: id.to_owned() }
    }

    #[test]
    fn a_server_that_answers_keeps_its_history() {
        let mut contact = Contact::default();
        assert_eq!(contact.observe(exchange(0, 1, 10_000, "a"), false), Some(Why::Start));
        assert_eq!(contact.observe(exchange(500, 501, 10_500, "a"), false), None);
        assert_eq!(
            contact.observe(exchange(1_000, 2_000, 11_900, "a"), false),
            None,
            "slow, and not silent for long enough"
        );
        assert_eq!(contact.observe(exchange(2_000, 3_500, 12_000, "a"), false), Some(Why::Silence));
        assert_eq!(contact.answered_ms(), Some(3_500));
    }

    #[test]
    fn another_id_and_a_step_of_the_clock_are_seen() {
        let mut contact = Contact::default();
        contact.observe(exchange(0, 0, 10_000, "a"), false);
        assert_eq!(contact.observe(exchange(500, 500, 10_500, "b"), false), Some(Why::History));
        assert_eq!(contact.observe(exchange(1_000, 1_000, 12_000, "b"), false), None, "a second is no step");
        assert_eq!(contact.observe(exchange(1_500, 1_500, 72_000, "b"), false), Some(Why::Clock));
        assert_eq!(contact.observe(exchange(2_000, 2_000, 13_000, "b"), false), Some(Why::Clock), "backwards");
        assert_eq!(contact.observe(exchange(2_500, 3_900, 14_500, "b"), false), Some(Why::Silence), "slow is no step");
    }

    #[test]
    fn the_last_calm_moment_is_the_last_answer_before_a_break() {
        let mut contact = Contact::default();
        assert_eq!(contact.calm_ms(0, 10_000), 0, "no answer yet");
        contact.observe(exchange(0, 0, 10_000, "a"), false);
        contact.observe(exchange(700, 700, 10_700, "a"), false);
        assert_eq!(contact.calm_ms(700, 10_000), 10_700);
        assert_eq!(contact.calm_ms(9_000, 10_000), 10_700, "while the server is silent");
        contact.observe(exchange(9_100, 9_100, 19_100, "b"), false);
        contact.observe(exchange(9_800, 9_800, 19_800, "b"), false);
        assert_eq!(contact.calm_ms(19_099, 10_000), 10_700, "while what was lost is restored");
        assert_eq!(contact.calm_ms(19_100, 10_000), 19_800);
        contact.observe(exchange(19_900, 19_900, 29_900, "b"), false);
        contact.observe(exchange(20_500, 20_500, 30_500, "b"), true);
        assert_eq!(contact.calm_ms(20_500, 10_000), 29_900, "a break that the exchange does not show");
    }
}
